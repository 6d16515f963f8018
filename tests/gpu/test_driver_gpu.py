"""What only a real GPU can show: readings without a context, and one context shared with torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aquahost_cuda.check import call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device, read_gpus
from aquahost_cuda.driver import Driver, driver_name, load
from aquahost_cuda.vmm import Buffer, Location, granularity
from driver_fixtures import MIB, mapped, read, write

pytestmark = pytest.mark.gpu


@pytest.fixture
def driver() -> Driver:
    driver = load("auto")
    assert driver_name(driver) == "cuda"
    return driver


def test_readings_follow_what_is_allocated(driver: Driver) -> None:
    with Device.open(driver, 0), Buffer(driver, 0, 512 * MIB):
        held = read_gpus(driver)[0].free_bytes
    assert read_gpus(driver)[0].free_bytes - held >= 400 * MIB


def test_the_context_is_the_one_torch_uses(driver: Driver) -> None:
    import torch

    with Device.open(driver, 0):
        torch.zeros(1, device="cuda:0")
        before = int(call(driver.cuCtxGetCurrent))
    with Device.open(driver, 0):
        assert int(call(driver.cuCtxGetCurrent)) == before


def test_memory_of_a_killed_process_is_free(driver: Driver) -> None:
    script = (
        "import os, signal, sys\n"
        "from aquahost_cuda.device import Device\n"
        "from aquahost_cuda.driver import load\n"
        "from aquahost_cuda.vmm import Buffer\n"
        "driver = load('cuda'); Device.open(driver, 0)\n"
        "Buffer(driver, 0, 1 << 30)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with Device.open(driver, 0) as device:
        before, _ = device.memory_info()
        subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=False)
        assert before - device.memory_info()[0] < 256 * MIB


def test_a_gpu_reaches_memory_of_another_without_a_context_there(driver: Driver) -> None:
    if call(driver.cuDeviceGetCount) < 2 or not call(driver.cuDeviceCanAccessPeer, 0, 1):
        pytest.skip("needs two GPUs that reach each other")
    here, there = Location.device(0), Location.device(1)
    nbytes = granularity(driver, here, there)
    with (
        Device.open(driver, 0) as device,
        CopyEngine(driver, device) as engine,
        Buffer(driver, 0, nbytes) as local,
        mapped(driver, nbytes, there, here) as peer,
    ):
        stream = engine.stream(Direction.OUT)
        write(driver, local.address, b"over the link", stream)
        engine.copy(Direction.OUT, [Copy(peer, local.address, 13)]).wait()
        assert read(driver, peer, 13, stream) == b"over the link"

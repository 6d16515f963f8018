"""What only a real GPU can show: readings without a context, and one context shared with torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.check import OutOfMemoryError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device, read_gpus
from aquahost_cuda.discovery import discover
from aquahost_cuda.driver import HOST, Driver, driver_name, load
from aquahost_cuda.vmm import Buffer, Location, granularity
from driver_fixtures import MIB, mapped, read, write

pytestmark = pytest.mark.gpu


def bindings() -> Any:
    """NVIDIA's own, for what our protocol does not have."""
    return importlib.import_module("cuda.bindings.driver")


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
        assert bindings().cuDevicePrimaryCtxGetState(1)[2] == 0  # (status, flags, active)


def test_the_links_of_parts_hold_what_they_promise(driver: Driver, tmp_path: Path) -> None:
    parts = load("cuda", partition=2, path=str(tmp_path))
    topology = discover(parts)
    links = {(link.source, link.target): link for link in topology.links}
    for pair in ((0, 1), (1, 0)):
        assert links[pair].usable, links[pair].reason
        assert links[pair].reason == "the same GPU"
    assert links[0, HOST].usable, links[0, HOST].reason
    assert int(call(driver.cuCtxGetCurrent)) == 0


def test_parts_keep_to_their_budgets_on_a_real_gpu(driver: Driver, tmp_path: Path) -> None:
    parts = load("cuda", partition=8, path=str(tmp_path))
    with Device.open(parts, 3) as device:
        free_bytes, total_bytes = device.memory_info()
        assert total_bytes <= read_gpus(driver)[0].total_bytes // 8
        with pytest.raises(OutOfMemoryError):
            Buffer(parts, 3, total_bytes + 2 * MIB)
        with Buffer(parts, 3, 64 * MIB):
            assert device.memory_info()[0] <= free_bytes - 64 * MIB

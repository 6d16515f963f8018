"""Weights of a real GPU, out to the host and back."""

from __future__ import annotations

import pytest
import torch

from aquahost.engines.device import EngineDevice
from aquahost.engines.peak_memory import measuring
from aquahost_cuda.driver import driver_name, load
from aquahost_cuda.vmm import Location
from driver_fixtures import MIB

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> EngineDevice:
    driver = load("auto")
    assert driver_name(driver) == "cuda"
    return EngineDevice(driver, 0)


def test_parked_weights_free_the_gpu_and_return_bit_for_bit(device: EngineDevice) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4096, 4096), torch.nn.LSTM(4096, 512))
    device.place(module)
    x = torch.randn(4, 4096, device=device.torch_device)
    with torch.inference_mode():
        expected = module(x)[0].clone()
    weights = device.weights
    berth = device.buffer(weights.packed_bytes(), Location.host())
    for _ in range(2):
        free_bytes = device.free_bytes()
        weights.copy_out(berth).wait()
        weights.leave()
        assert device.free_bytes() - free_bytes > 64 * MIB
        weights.copy_in(berth).wait()
        weights.arrive()
        with torch.inference_mode():
            assert torch.equal(module(x)[0], expected)
    berth.close()
    device.close()


def test_the_allocators_peak_is_measured(device: EngineDevice) -> None:
    with measuring(device.torch_device) as meter:
        held = torch.zeros(16 * MIB, dtype=torch.uint8, device=device.torch_device)
        worst = torch.zeros(64 * MIB, dtype=torch.uint8, device=device.torch_device)
        del worst
        assert meter.alive_bytes() == 16 * MIB
    assert 80 * MIB <= meter.peak_bytes() < 200 * MIB
    del held
    device.close()

"""Weights and the claim they make: never more than they take in the end, and moved bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from aquahost.engines.device import EngineDevice
from aquahost.engines.memory_desk import Part
from aquahost.errors import LoadError
from aquahost.messages.memory import Claim
from aquahost.units import MIB
from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.vmm import Location
from driver_fixtures import PAGE, emulated
from scripted_broker import ScriptedBroker


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as opened:
        yield opened


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def device(driver: EmulatedDriver, broker: ScriptedBroker) -> Iterator[EngineDevice]:
    opened = EngineDevice(driver, 0, broker.desk())
    yield opened
    opened.close()


def linear(mib: int) -> torch.nn.Module:
    """A module of about so many MiB."""
    return torch.nn.Linear(mib * MIB // 4 // 256, 256)


def claims(broker: ScriptedBroker) -> list[int]:
    return [one.nbytes for one in broker.heard_of(Claim)]


def test_room_is_claimed_at_once_held_through_the_load_and_rounded_off_at_its_end(
    device: EngineDevice, broker: ScriptedBroker
) -> None:
    device.require(10 * MIB, "the weights of chat")
    assert claims(broker) == [10 * MIB]
    device.place(linear(3))
    device.place(linear(3))
    assert claims(broker) == [10 * MIB], "what is announced stays claimed between parts"
    device.end_load()
    broker.serve(device.desk, device.desk)
    assert claims(broker)[1:] == [8 * MIB] == [device.weights.gpu_bytes]
    assert device.desk.settled(Part.WEIGHTS) == device.total_bytes - device.free_bytes()


def test_parts_that_take_more_than_was_announced_claim_more_first(device: EngineDevice, broker: ScriptedBroker) -> None:
    device.require(MIB, "the weights of chat")
    device.place(linear(3))
    device.place(linear(5))
    assert claims(broker) == [MIB, 4 * MIB, 10 * MIB]
    device.end_load()
    assert device.desk.wanted(Part.WEIGHTS) == device.weights.gpu_bytes == 10 * MIB


def test_what_the_broker_can_not_give_is_refused_before_anything_is_placed(
    device: EngineDevice, broker: ScriptedBroker
) -> None:
    broker.limit_bytes = 8 * MIB
    with pytest.raises(LoadError, match=r"the weights of chat would bring the model to 10.0 MiB .* at most 8.0 MiB"):
        device.require(10 * MIB, "the weights of chat")
    with pytest.raises(LoadError, match=r"the weights would bring the model to 10.0 MiB"):
        device.place(linear(9))
    assert device.free_bytes() == device.total_bytes


def test_what_is_settled_but_not_free_is_refused_with_both_numbers(device: EngineDevice) -> None:
    stranger = device.buffer(60 * MIB)
    with pytest.raises(LoadError, match=r"the weights of chat need 10.0 MiB; GPU 0 has 4.0 MiB free of 64.0 MiB"):
        device.require(10 * MIB, "the weights of chat")
    stranger.close()


class Overlapping(torch.nn.Module):
    """Parameters that share memory without being the same, as a flattened LSTM's do with one another on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        flat = torch.randn(1000)
        self.whole = torch.nn.Parameter(flat)
        self.part = torch.nn.Parameter(flat[100:350].view(50, 5))
        self.every_third = torch.nn.Parameter(flat[1:301:3])
        self.odd = torch.nn.Parameter(torch.randn(33).to(torch.float16)[1:])

    def values(self) -> list[bytes]:
        return [p.detach().clone().contiguous().view(torch.uint8).numpy().tobytes() for p in self.parameters()]


def round_trip(device: EngineDevice, target: Location) -> None:
    """Out and in again."""
    weights = device.weights
    berth = device.buffer(weights.packed_bytes(), target)
    weights.copy_out(berth).wait()
    weights.leave()
    assert weights.gpu_bytes == 0 == device.total_bytes - device.free_bytes()
    weights.copy_in(berth).wait()
    weights.arrive()
    berth.close()


@pytest.mark.parametrize("target", [Location.host(), Location.device(3)], ids=["host", "neighbour"])
def test_weights_return_as_they_were_and_share_what_they_shared(device: EngineDevice, target: Location) -> None:
    # As torch places it on a GPU: where it is, one memory for all. (The emulated driver's own way makes copies.)
    module, other = Overlapping(), linear(3)
    device.place(other)
    device.weights._tensors.update((id(parameter), parameter) for parameter in module.parameters())
    before, pointer = module.values(), other.get_parameter("weight").data_ptr()
    for _ in range(2):
        round_trip(device, target)
        assert module.values() == before
        module.whole.data[100:350] += 1
        assert module.part.flatten().tolist() == module.whole[100:350].tolist()
        assert module.every_third.stride() == (3,)
        module.whole.data.copy_(torch.frombuffer(bytearray(before[0]), dtype=torch.float32))
    assert other.get_parameter("weight").data_ptr() != pointer
    del module, other


def test_weights_that_do_not_fit_any_more_stay_away_whole(device: EngineDevice) -> None:
    module = linear(3)
    device.place(module)
    before = module.get_parameter("weight").clone()
    weights = device.weights
    berth = device.buffer(weights.packed_bytes(), Location.host())
    weights.copy_out(berth).wait()
    weights.leave()
    stranger = device.buffer(device.free_bytes())
    with pytest.raises(OutOfMemoryError):
        weights.copy_in(berth)
    assert weights.gpu_bytes == 0
    stranger.close()
    weights.copy_in(berth).wait()
    weights.arrive()
    berth.close()
    assert torch.equal(module.get_parameter("weight"), before)
    assert weights.gpu_bytes % PAGE == 0

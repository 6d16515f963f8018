"""An idle model's weights leave their GPU and come back bit for bit, whatever happens on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aquahost.clock import VirtualClock
from aquahost.engines.device import EngineDevice
from aquahost.engines.memory_desk import Part
from aquahost.engines.parking import GRANT_WAIT_S, Parking
from aquahost.errors import EngineError
from aquahost.messages.memory import (
    Claim,
    Demand,
    LeaseFailed,
    LeaseGranted,
    LeaseLost,
    LeaseMapped,
    LeaseRecalled,
    LeaseReturned,
)
from aquahost.messages.wire import Park, Pin, Wake
from aquahost.units import MIB
from aquahost_cuda.driver import EmulatedDriver
from driver_fixtures import PAGE, emulated
from scripted_broker import ScriptedBroker

PATIENCE_S = 20
SLOW = {"host_bytes_per_s": 60e6, "peer_bytes_per_s": 60e6}
"""Copies of the weights take about 0.1 s: time enough to be found under way."""


class Weights(torch.nn.Module):
    """A bit of everything: tied, column by column, an integer buffer, an empty one, half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(1000, 1024)
        self.head = torch.nn.Linear(1024, 1000, bias=False)
        self.head.weight = self.embedding.weight
        self.turned = torch.nn.Parameter(torch.randn(256, 500).T)
        self.brief = torch.nn.Parameter(torch.randn(7, 5, 3).to(torch.bfloat16))
        self.scalar = torch.nn.Parameter(torch.randn(()))
        self.lstm = torch.nn.LSTM(256, 64)
        self.register_buffer("steps", torch.arange(500))
        self.register_buffer("nothing", torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.head(x)[:, self.steps] @ self.turned
        return self.lstm(hidden)[0] * self.scalar + self.brief.float().sum()


class Parked:
    """A module on GPU 0 of four, its parking, and the broker, driven as an engine would."""

    def __init__(self, driver: EmulatedDriver, **settings: Any) -> None:
        torch.manual_seed(0)
        self.driver = driver
        self.clock = VirtualClock()
        self.broker = ScriptedBroker(clock=self.clock)
        self.desk = self.broker.desk(**{"park_after_s": 300.0, **settings})
        self.device = EngineDevice(driver, 0, self.desk)
        self.module, self.other = Weights(), torch.nn.Linear(32, 32)
        self.x = torch.randn(3, 1024)
        self.device.place(self.module)
        self.device.place(self.other)
        self.device.end_load()
        self.broker.serve(self.desk, self.desk)
        self.expected = self.output()
        self.placed_bytes = self.device.weights.gpu_bytes
        self.parking = Parking(self.device, pin=False)

    def output(self) -> bytes:
        with torch.inference_mode():
            return bytes(self.module(self.x).numpy().tobytes())

    @property
    def packed_bytes(self) -> int:
        return self.device.taken_bytes(self.device.weights.packed_bytes())

    def tend(self, *, busy: bool = False) -> None:
        self.parking.tend(busy=busy)
        self.broker.serve(self.desk, self.parking)

    def tend_until(self, reached: Callable[[], bool], *, busy: bool = False) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline_s
            self.tend(busy=busy)
            time.sleep(min(0.001, self.parking.wait_s()))

    def fall_idle(self) -> None:
        """Until the broker is asked for a lease."""
        self.clock.advance(self.desk.settings.park_after_s or 0)
        self.tend()

    def park_on_host(self) -> None:
        self.fall_idle()
        self.clock.advance(GRANT_WAIT_S)
        self.tend_until(lambda: self.parking.where == "host")

    def grant(self, lease_id: int = 7, donor: int = 2, nbytes: int | None = None) -> None:
        self.parking.on_memory(LeaseGranted(lease_id, donor, nbytes or self.packed_bytes))

    def park_on_neighbour(self) -> None:
        self.fall_idle()
        self.grant()
        self.tend_until(lambda: self.parking.where == "GPU 2")

    def wake(self) -> None:
        self.parking.wake()
        self.tend_until(lambda: self.parking.is_awake, busy=True)

    def used_bytes(self, gpu: int) -> int:
        free_bytes, total_bytes = self.driver.memory_of(gpu)
        return total_bytes - free_bytes

    def check_awake(self) -> None:
        """All is as it was when the weights were loaded."""
        assert self.output() == self.expected
        assert self.module.head.weight.data_ptr() == self.module.embedding.weight.data_ptr()
        assert self.module.turned.T.is_contiguous()
        assert self.used_bytes(0) == self.parking.gpu_bytes == self.desk.settled(Part.WEIGHTS)
        assert [self.used_bytes(gpu) for gpu in (1, 2, 3)] == [0, 0, 0]
        assert (self.parking.where, self.parking.host_bytes, self.parking.borrowed_bytes) == ("", 0, 0)

    def close(self) -> None:
        self.parking.close()
        self.device.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as opened:
        yield opened


@pytest.fixture
def slow_driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path, **SLOW) as opened:
        yield opened


@pytest.fixture
def parked(driver: EmulatedDriver) -> Iterator[Parked]:
    made = Parked(driver)
    yield made
    made.close()


@pytest.fixture
def slow(slow_driver: EmulatedDriver) -> Iterator[Parked]:
    made = Parked(slow_driver)
    yield made
    made.close()


def test_parked_on_the_host_the_gpu_is_free_and_the_weights_come_back(parked: Parked) -> None:
    assert parked.used_bytes(0) == parked.placed_bytes == parked.broker.claimed_bytes
    for _ in range(2):
        parked.park_on_host()
        assert (parked.used_bytes(0), parked.parking.gpu_bytes, parked.broker.claimed_bytes) == (0, 0, 0)
        assert parked.parking.host_bytes == parked.packed_bytes
        assert parked.module.turned.numel() == 0, "a parked tensor must not be used"
        parked.wake()
        parked.check_awake()
    assert parked.parking.gpu_bytes == parked.packed_bytes <= parked.placed_bytes


def test_parked_on_a_neighbour_they_lie_in_the_lease_and_give_it_back(parked: Parked) -> None:
    parked.park_on_neighbour()
    size = parked.packed_bytes
    assert (parked.used_bytes(0), parked.used_bytes(2)) == (0, size)
    assert (parked.parking.borrowed_bytes, parked.parking.host_bytes) == (size, 0)
    assert parked.broker.heard_of(Demand) == [Demand(size, size)]
    assert parked.broker.heard_of(LeaseMapped) == [LeaseMapped(7)]
    parked.wake()
    parked.check_awake()
    assert parked.broker.heard_of(Demand)[-1] == Demand(0, size)
    assert parked.broker.heard_of(LeaseReturned) == [LeaseReturned(7, size)]


def test_only_the_idle_are_parked(parked: Parked) -> None:
    for _ in range(3):
        parked.clock.advance(299)
        assert parked.parking.wait_s() == pytest.approx(1.0)
        parked.tend(busy=True)
    assert parked.parking.wait_s() == pytest.approx(300)
    parked.clock.advance(299)
    parked.tend()
    assert parked.broker.heard_of(Demand) == []
    parked.clock.advance(1)
    parked.tend()
    assert len(parked.broker.heard_of(Demand)) == 1


@pytest.mark.parametrize("why", ["pinned", "never", "nobody lends", "not ready", "no weights"])
def test_some_are_never_parked(driver: EmulatedDriver, why: str) -> None:
    parked = Parked(driver, **({"park_after_s": None} if why == "never" else {}))
    device = parked.device
    if why == "nobody lends":
        device = EngineDevice(driver, 1)
        module = torch.nn.Linear(8, 8)
        device.place(module)
    if why == "no weights":
        device = EngineDevice(driver, 1, parked.broker.desk(park_after_s=1.0))
    parking = Parking(device, pin=why == "pinned", ready_to_park=lambda: why != "not ready")
    parked.clock.advance(10**6)
    for _ in range(3):
        parking.tend(busy=False)
    assert parking.is_awake
    assert device.desk.take_reports() == []
    parking.close()
    if device is not parked.device:
        device.close()
    parked.close()


def test_a_prompt_that_comes_while_a_lease_is_waited_for_withdraws_the_wish(parked: Parked) -> None:
    parked.fall_idle()
    assert parked.parking.wait_s() == GRANT_WAIT_S
    parked.parking.wake()
    parked.tend(busy=True)
    assert parked.broker.heard_of(Demand)[-1].nbytes == 0
    assert not parked.parking.on_memory(LeaseGranted(7, 2, parked.packed_bytes)), "the engine's to answer"
    parked.check_awake()


def test_leases_that_come_too_late_or_of_another_size_go_back(parked: Parked) -> None:
    parked.fall_idle()
    parked.grant(1, nbytes=parked.packed_bytes + PAGE)
    parked.grant(2, nbytes=parked.packed_bytes - PAGE)
    assert parked.parking.where == ""
    parked.clock.advance(GRANT_WAIT_S)
    parked.tend_until(lambda: parked.parking.where == "host")
    parked.grant(3)
    parked.tend()
    assert [one.lease_id for one in parked.broker.heard_of(LeaseReturned)] == [1, 2, 3]
    assert parked.broker.heard_of(LeaseMapped) == []
    assert parked.used_bytes(2) == 0
    parked.wake()
    parked.check_awake()


def test_a_lease_that_cannot_be_mapped_is_reported_and_the_host_serves(parked: Parked) -> None:
    hog = parked.device.buffer(60 * MIB, _on(2))
    parked.fall_idle()
    parked.grant(7)
    parked.clock.advance(GRANT_WAIT_S)
    parked.tend_until(lambda: parked.parking.where == "host")
    (failed,) = parked.broker.heard_of(LeaseFailed)
    assert failed.lease_id == 7
    assert "OUT_OF_MEMORY" in failed.reason
    hog.close()
    parked.wake()
    parked.check_awake()


def test_a_recall_moves_them_to_the_host_and_the_lease_back(parked: Parked) -> None:
    parked.park_on_neighbour()
    size = parked.packed_bytes
    assert not parked.parking.on_memory(LeaseRecalled(99, 0, 1.0)), "someone else's"
    assert parked.parking.on_memory(LeaseRecalled(7, size // 2, 1.0))
    parked.tend_until(lambda: parked.parking.where == "host")
    parked.tend()
    assert (parked.used_bytes(2), parked.parking.borrowed_bytes) == (0, 0)
    assert parked.parking.host_bytes == size
    assert parked.broker.heard_of(LeaseReturned) == [LeaseReturned(7, size)]
    parked.wake()
    parked.check_awake()


def test_a_prompt_that_comes_while_they_leave_finds_them_usable(slow: Parked) -> None:
    slow.fall_idle()
    slow.grant()
    assert slow.parking.is_awake
    slow.parking.wake()
    assert slow.output() == slow.expected
    slow.tend_until(lambda: slow.parking.borrowed_bytes == 0, busy=True)
    slow.tend(busy=True)
    slow.check_awake()
    assert slow.broker.claimed_bytes == slow.placed_bytes, "they never left"
    assert slow.broker.heard_of(LeaseReturned) == [LeaseReturned(7, slow.packed_bytes)]


def test_a_recall_while_they_leave_sends_them_to_the_host(slow: Parked) -> None:
    slow.fall_idle()
    slow.grant()
    slow.parking.on_memory(LeaseRecalled(7, 0, 1.0))
    slow.tend_until(lambda: slow.parking.where == "host")
    assert slow.used_bytes(2) == 0
    assert slow.broker.heard_of(LeaseReturned) == [LeaseReturned(7, slow.packed_bytes)]
    slow.wake()
    slow.check_awake()


def test_a_prompt_that_comes_while_they_move_to_the_host_brings_them_back(slow: Parked) -> None:
    slow.park_on_neighbour()
    slow.parking.on_memory(LeaseRecalled(7, 0, 1.0))
    assert slow.parking.host_bytes == slow.parking.borrowed_bytes == slow.packed_bytes
    slow.wake()
    slow.tend()
    slow.check_awake()


def test_a_recall_while_they_return_is_met_by_their_return(slow: Parked) -> None:
    slow.park_on_neighbour()
    slow.parking.wake()
    slow.broker.serve(slow.desk, slow.parking)
    slow.tend(busy=True)
    assert slow.used_bytes(0) == slow.used_bytes(2) == slow.packed_bytes
    assert not slow.parking.is_awake
    slow.parking.on_memory(LeaseRecalled(7, 0, 1.0))
    slow.tend_until(lambda: slow.parking.is_awake, busy=True)
    slow.tend()
    slow.check_awake()
    assert slow.broker.heard_of(LeaseReturned) == [LeaseReturned(7, slow.packed_bytes)]


def test_a_recall_while_their_claim_is_waited_for_does_not_lose_the_claim(parked: Parked) -> None:
    parked.park_on_neighbour()
    parked.broker.hesitates = True
    parked.parking.wake()
    parked.parking.on_memory(LeaseRecalled(7, 0, 1.0))
    parked.tend_until(lambda: parked.parking.where == "host", busy=True)
    parked.tend(busy=True)
    assert not parked.parking.is_awake
    assert parked.used_bytes(0) == 0, "not before the claim is settled"
    parked.broker.hesitates = False
    parked.broker.settle(parked.desk)
    parked.tend_until(lambda: parked.parking.is_awake, busy=True)
    parked.check_awake()


def test_lost_memory_loses_the_weights_unless_they_are_still_at_home(parked: Parked) -> None:
    parked.park_on_neighbour()
    assert not parked.parking.on_memory(LeaseLost(99, "not this one"))
    with pytest.raises(EngineError, match="parked on GPU 2, whose memory is lost: GPU 2 fell off the bus"):
        parked.parking.on_memory(LeaseLost(7, "GPU 2 fell off the bus"))


def test_memory_lost_while_they_leave_costs_nothing(slow: Parked) -> None:
    slow.fall_idle()
    slow.grant()
    assert slow.parking.on_memory(LeaseLost(7, "GPU 2 fell off the bus"))
    slow.tend_until(lambda: slow.parking.where == "host")
    assert slow.broker.heard_of(LeaseReturned) == []
    slow.wake()
    slow.check_awake()


def test_a_refused_return_is_told_and_tried_again_by_the_next_prompt(parked: Parked) -> None:
    parked.park_on_host()
    parked.broker.limit_bytes = PAGE
    parked.parking.wake()
    parked.tend(busy=True)
    parked.tend(busy=True)
    assert "cannot be woken now" in parked.parking.stuck
    assert "of which 2.0 MiB can be had" in parked.parking.stuck
    claims = len(parked.broker.heard_of(Claim))
    for _ in range(3):
        parked.tend(busy=True)
    assert len(parked.broker.heard_of(Claim)) == claims, "not again and again"
    parked.broker.limit_bytes = 1 << 40
    parked.wake()
    assert not parked.parking.stuck
    parked.check_awake()


def test_a_gpu_that_others_filled_is_told_and_tried_again(parked: Parked) -> None:
    parked.park_on_host()
    hog = parked.device.buffer(63 * MIB // PAGE * PAGE)
    parked.parking.wake()
    parked.tend(busy=True)
    parked.tend(busy=True)
    assert "other processes leave only" in parked.parking.stuck
    assert parked.desk.wanted(Part.WEIGHTS) == 0
    hog.close()
    parked.wake()
    parked.check_awake()


@pytest.mark.parametrize("stage", ["asking", "leaving", "parked", "moving", "returning"])
def test_closing_leaves_nothing_behind(slow: Parked, stage: str) -> None:
    if stage in ("asking", "leaving"):
        slow.fall_idle()
    else:
        slow.park_on_neighbour()
    match stage:
        case "leaving":
            slow.grant()
        case "moving":
            slow.parking.on_memory(LeaseRecalled(7, 0, 1.0))
        case "returning":
            slow.parking.wake()
            slow.broker.serve(slow.desk, slow.parking)
            slow.tend(busy=True)
    slow.close()
    assert [slow.used_bytes(gpu) for gpu in range(4)] == [0, 0, 0, 0]


def _on(gpu: int) -> Any:
    from aquahost_cuda.vmm import Location

    return Location.device(gpu)


def test_who_is_asked_to_is_parked_at_once_and_wakes_without_a_prompt(driver: EmulatedDriver) -> None:
    parked = Parked(driver, park_after_s=None)
    parked.tend()
    assert parked.broker.heard_of(Demand) == []
    parked.parking.on_wish(Park())
    parked.tend()
    parked.grant()
    parked.tend_until(lambda: parked.parking.where == "GPU 2")
    parked.parking.on_wish(Park())
    parked.parking.on_wish(Wake())
    parked.tend_until(lambda: parked.parking.is_awake)
    parked.clock.advance(10**6)
    parked.tend()
    parked.check_awake()
    assert [one.nbytes > 0 for one in parked.broker.heard_of(Demand)] == [True, False], "asked once, parked once"
    parked.close()


def test_who_is_asked_to_waits_until_all_else_is_given_up_and_a_prompt_ends_that(driver: EmulatedDriver) -> None:
    parked = Parked(driver, park_after_s=None)
    ready = False
    parked.parking = Parking(parked.device, pin=False, ready_to_park=lambda: ready)
    parked.parking.on_wish(Park())
    for _ in range(3):
        parked.tend()
        assert parked.parking.wait_s() < 0.1
    parked.tend(busy=True)
    ready = True
    parked.tend()
    assert parked.broker.heard_of(Demand) == []
    parked.parking.on_wish(Park())
    parked.tend()
    assert len(parked.broker.heard_of(Demand)) == 1
    parked.close()


def test_pinned_they_stay_or_come_back_until_unpinned(parked: Parked) -> None:
    parked.park_on_host()
    parked.parking.on_wish(Pin(True))
    parked.tend_until(lambda: parked.parking.is_awake)
    parked.parking.on_wish(Park())
    parked.clock.advance(10**6)
    for _ in range(3):
        parked.tend()
    parked.check_awake()
    assert parked.parking.wait_s() == float("inf")
    parked.parking.on_wish(Pin(False))
    parked.park_on_host()
    parked.wake()


def test_a_wish_to_wake_that_cannot_be_met_says_why_and_may_be_repeated(parked: Parked) -> None:
    parked.park_on_host()
    parked.broker.limit_bytes = PAGE
    parked.parking.on_wish(Wake())
    for _ in range(3):
        parked.tend()
    assert "cannot be woken now" in parked.parking.stuck
    parked.broker.limit_bytes = 1 << 40
    parked.parking.on_wish(Wake())
    assert not parked.parking.stuck
    parked.tend_until(lambda: parked.parking.is_awake)
    parked.check_awake()

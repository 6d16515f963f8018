"""What an arena leaves when a donor, a link or the driver fails it in the middle: nothing that nobody owns."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError, OutOfMemoryError
from aquahost_cuda.driver import EmulatedDriver, Faults
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.vmm import Buffer, Location
from driver_fixtures import MIB, PAGE, emulated, opened

LOCAL, PEER, HOST = Location.device(0), Location.device(1), Location.host()


class Failing:
    """The emulated driver, of which one call answers an error from some point on."""

    def __init__(self, driver: EmulatedDriver) -> None:
        self._driver = driver
        self.name = ""
        self.passes = 0
        """Calls that still succeed."""
        self.times = 0
        """Calls that fail after those."""

    def fail(self, name: str, *, passes: int = 0, times: int = 1) -> None:
        """Let some calls of a function pass, then fail some."""
        self.name, self.passes, self.times = name, passes, times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name != self.name:
            return found

        def failing(*arguments: Any) -> Any:
            if self.passes:
                self.passes -= 1
            elif self.times:
                self.times -= 1
                return (CUresult.CUDA_ERROR_UNKNOWN, None)
            return found(*arguments)

        failing.__name__ = name
        return failing


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver, opened(driver):
        yield driver


@pytest.fixture
def failing(driver: EmulatedDriver) -> Any:
    return Failing(driver)


@pytest.fixture
def arena(failing: Any) -> Iterator[Arena]:
    with Arena(failing, 0, 8 * PAGE, 2 * PAGE) as arena:
        yield arena


def used(driver: EmulatedDriver) -> list[int]:
    """MiB in use on the first two GPUs."""
    return [(driver.node.gpu_bytes - driver.memory_of(gpu)[0]) // MIB for gpu in (0, 1)]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_only_this_gpu_has_a_context_and_no_handle_is_kept(driver: EmulatedDriver, arena: Arena) -> None:
    before = descriptors()
    arena.grow(1)
    arena.grow(1, PEER)
    arena.grow(1, HOST)
    assert driver.live().contexts == 1
    assert driver.live().handles == 0
    move = arena.begin_move(0, PEER)
    assert (driver.live().handles, descriptors()) == (1, before + 1)
    move.finish()
    assert (driver.live().handles, descriptors()) == (0, before)
    assert driver.live().contexts == 1


@pytest.mark.parametrize("location", [LOCAL, PEER])
def test_out_of_memory_halfway_leaves_nothing_behind(driver: EmulatedDriver, arena: Arena, location: Location) -> None:
    arena.map([2], HOST)
    with Buffer(driver, location.index, 58 * MIB):  # of 64: room for one chunk
        before = used(driver), driver.live()
        with pytest.raises(OutOfMemoryError):
            arena.grow(2, location)
        assert (used(driver), driver.live()) == before
        assert arena.locations() == (None, None, HOST, None)
        arena.grow(1, location)
        with pytest.raises(OutOfMemoryError):
            arena.begin_move(2, location)
        assert driver.live().handles == 0
        assert arena.locations() == (location, None, HOST, None)


def test_memory_of_a_gpu_that_denies_access_is_refused(driver: EmulatedDriver, arena: Arena) -> None:
    arena.grow(1)
    ctypes.memset(arena.address, 5, arena.chunk_bytes)
    inject(driver.node.path, Faults(no_peer_access=((0, 1),)))
    before = used(driver), driver.live()
    for attempt in (
        lambda: arena.grow(2, PEER),
        lambda: arena.map([3, 1], PEER),
        lambda: arena.begin_move(0, PEER),
    ):
        with pytest.raises(DriverError, match="cuMemSetAccess failed with CUDA_ERROR_INVALID_DEVICE"):
            attempt()
        assert (used(driver), driver.live()) == before
        assert arena.locations() == (LOCAL, None, None, None)
    assert ctypes.string_at(arena.address, 3) == b"\5\5\5"


def test_memory_of_a_lost_gpu_is_refused(driver: EmulatedDriver, arena: Arena) -> None:
    inject(driver.node.path, Faults(lost_gpus=(1,)))
    with pytest.raises(DriverError, match="cuMemCreate failed with CUDA_ERROR_DEVICE_UNAVAILABLE"):
        arena.grow(1, PEER)
    assert arena.mapped_bytes == 0
    arena.grow(1, Location.device(2))


def test_chunks_on_a_gpu_that_is_lost_later_can_be_given_back(driver: EmulatedDriver, arena: Arena) -> None:
    arena.grow(2, PEER)
    inject(driver.node.path, Faults(lost_gpus=(1,)))
    arena.unmap([0])
    assert arena.locations() == (None, PEER, None, None)


@pytest.mark.parametrize("call", ["cuMemCreate", "cuMemMap", "cuMemSetAccess"])
def test_whatever_fails_while_mapping_is_undone(driver: EmulatedDriver, failing: Any, arena: Arena, call: str) -> None:
    before = used(driver), driver.live()
    failing.fail(call, passes=1)
    with pytest.raises(DriverError, match=call):
        arena.map([0, 2], PEER)  # two runs of chunks, so that each call is made twice
    assert (used(driver), driver.live()) == before
    assert arena.mapped_bytes == 0


@pytest.mark.parametrize("call", ["cuMemCreate", "cuMemAddressReserve", "cuMemMap", "cuMemSetAccess"])
def test_whatever_fails_at_the_beginning_of_a_move_is_undone(
    driver: EmulatedDriver, failing: Any, arena: Arena, call: str
) -> None:
    arena.grow(1)
    before = used(driver), driver.live()
    failing.fail(call)
    with pytest.raises(DriverError, match=call):
        arena.begin_move(0, PEER)
    assert (used(driver), driver.live()) == before
    arena.begin_move(0, PEER).finish()


def test_a_move_whose_old_memory_stays_leaves_the_chunk_as_it_was(
    driver: EmulatedDriver, failing: Any, arena: Arena
) -> None:
    arena.grow(1)
    ctypes.memset(arena.address, 5, arena.chunk_bytes)
    move = arena.begin_move(0, PEER)
    failing.fail("cuMemUnmap")
    with pytest.raises(DriverError, match="cuMemUnmap"):
        move.finish()
    assert arena.location(0) == LOCAL
    assert ctypes.string_at(arena.address, 3) == b"\5\5\5"
    assert used(driver) == [4, 0]
    assert driver.live().handles == 0
    arena.begin_move(0, PEER).abandon()


@pytest.mark.parametrize("call", ["cuMemMap", "cuMemSetAccess"])
def test_a_move_whose_new_memory_cannot_be_mapped_leaves_an_empty_chunk(
    driver: EmulatedDriver, failing: Any, arena: Arena, call: str
) -> None:
    arena.grow(2)
    move = arena.begin_move(0, PEER)
    failing.fail(call)
    with pytest.raises(DriverError, match=call):
        move.finish()
    assert arena.locations()[:2] == (None, LOCAL)
    assert used(driver) == [4, 0]
    assert driver.live().handles == 0
    arena.map([0], HOST)


def test_what_cannot_be_unmapped_keeps_nothing_else_from_being_freed(
    driver: EmulatedDriver, failing: Any, arena: Arena
) -> None:
    arena.grow(4)
    failing.fail("cuMemUnmap", passes=1)
    with pytest.raises(DriverError, match="cuMemUnmap"):
        arena.unmap([0, 1, 2])
    assert [at is None for at in arena.locations()].count(True) == 2
    assert used(driver) == [8, 0]

"""Failed calls raise what they should, and copies get along with either generation of bindings."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError, OutOfMemoryError, call, is_done
from aquahost_cuda.copies import Copy, CopyEngine, Direction, merge_adjacent
from aquahost_cuda.driver import EmulatedDriver, Faults
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.vmm import Buffer, Location
from driver_fixtures import MIB, PAGE, HeldStream, emulated, mapped, opened, read, write


def answering(*answer: Any) -> Any:
    def cuSomething(*arguments: Any) -> Any:
        return answer

    return cuSomething


def test_a_call_returns_what_follows_the_code() -> None:
    assert call(answering(CUresult.CUDA_SUCCESS)) is None
    assert call(answering(CUresult.CUDA_SUCCESS, 5), 1, 2) == 5
    assert call(answering(CUresult.CUDA_SUCCESS, 5, 6)) == (5, 6)


def test_a_failed_call_says_which_and_what_to_do() -> None:
    with pytest.raises(DriverError) as failure:
        call(answering(CUresult.CUDA_ERROR_INVALID_CONTEXT, None))
    assert (failure.value.call, failure.value.name) == ("cuSomething", "CUDA_ERROR_INVALID_CONTEXT")
    assert str(failure.value) == (
        "cuSomething failed with CUDA_ERROR_INVALID_CONTEXT: "
        "no GPU is current in this thread; call Device.activate() in it first"
    )
    assert not isinstance(failure.value, OutOfMemoryError)
    with pytest.raises(OutOfMemoryError):
        call(answering(CUresult.CUDA_ERROR_OUT_OF_MEMORY, None))
    with pytest.raises(DriverError, match=r"CUresult 12345$"):
        call(answering(12345))


def test_a_query_is_done_not_done_or_failed() -> None:
    assert is_done(answering(CUresult.CUDA_SUCCESS))
    assert not is_done(answering(CUresult.CUDA_ERROR_NOT_READY))
    with pytest.raises(DriverError, match="ILLEGAL_ADDRESS"):
        is_done(answering(CUresult.CUDA_ERROR_ILLEGAL_ADDRESS))


def test_neighbours_are_joined_and_empty_copies_left_out() -> None:
    copies = [Copy(101, 901, 50), Copy(1, 501, 100), Copy(151, 951, 10), Copy(161, 962, 5), Copy(401, 1, 0)]
    assert merge_adjacent(copies, 1000) == [Copy(1, 501, 100), Copy(101, 901, 60), Copy(161, 962, 5)]
    assert merge_adjacent([], 1000) == []


@pytest.mark.parametrize("side", ["dst", "src"])
def test_neighbours_that_may_lie_in_two_mappings_stay_apart(side: str) -> None:
    def one(at: int, nbytes: int) -> Copy:
        return Copy(5000 + at, 9050 + at, nbytes) if side == "dst" else Copy(9050 + at, 5000 + at, nbytes)

    copies = [one(0, 400), one(400, 600), one(1000, 400), one(1400, 100)]
    assert merge_adjacent(copies, 1000) == [one(0, 1000), one(1000, 500)]


def test_one_copy_over_several_chunks_is_left_whole() -> None:
    assert merge_adjacent([Copy(0, 10_000, 5000), Copy(5001, 90, 5)], 1000) == [
        Copy(0, 10_000, 5000),
        Copy(5001, 90, 5),
    ]


class Spy:
    """An emulated driver that counts batches, and answers them as older software does."""

    def __init__(self, driver: EmulatedDriver, lack: str | None = None) -> None:
        self._driver = driver
        self._lack = lack
        """How it says that it has no batches: "missing" or "unsupported"."""
        self.batches = 0
        self.singles = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def cuMemcpyBatchAsync(self, *arguments: Any) -> tuple[Any, ...]:
        self.batches += 1
        if self._lack == "missing":
            raise RuntimeError('Function "cuMemcpyBatchAsync_v2" not found')
        if self._lack == "unsupported":
            return (CUresult.CUDA_ERROR_NOT_SUPPORTED,)
        return (*self._driver.cuMemcpyBatchAsync(*arguments), 0)  # (status, failIdx), as bindings 12

    def cuMemcpyAsync(self, *arguments: Any) -> tuple[Any, ...]:
        self.singles += 1
        return self._driver.cuMemcpyAsync(*arguments)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


@pytest.mark.parametrize(("lack", "batches", "singles"), [(None, 2, 0), ("missing", 1, 4), ("unsupported", 1, 4)])
def test_copies_arrive_with_older_bindings_and_drivers(
    driver: EmulatedDriver, lack: str | None, batches: int, singles: int
) -> None:
    spy: Any = Spy(driver, lack)
    with opened(driver) as device, Buffer(driver, 0, 2 * MIB) as buffer, CopyEngine(spy, device) as engine:
        stream = engine.stream(Direction.OUT)
        write(driver, buffer.address, b"abcdef", stream)
        for _ in range(2):
            base = buffer.address + MIB
            engine.copy(Direction.OUT, [Copy(base, buffer.address, 3), Copy(base + 3, buffer.address, 3)]).wait()
        assert read(driver, buffer.address + MIB, 6, stream) == b"abcabc"
        assert (spy.batches, spy.singles) == (batches, singles)


def test_a_refused_copy_raises_and_the_engine_goes_on(driver: EmulatedDriver) -> None:
    with opened(driver) as device, Buffer(driver, 0, 2 * MIB) as buffer, CopyEngine(driver, device) as engine:
        for _ in range(3):
            with pytest.raises(DriverError, match="cuMemcpyAsync failed with CUDA_ERROR_INVALID_VALUE"):
                engine.copy(Direction.OUT, [Copy(0, buffer.address, 8)])
        engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, 8)]).wait()
        assert driver.live().events == 2


def test_a_dropped_transfer_gives_its_events_back(driver: EmulatedDriver) -> None:
    with opened(driver) as device, Buffer(driver, 0, 2 * MIB) as buffer, CopyEngine(driver, device) as engine:
        with HeldStream(driver, engine.stream(Direction.OUT)):
            for _ in range(5):
                engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, 8)])
        kept = engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, 8)])
        assert driver.live().events == 2
        engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, 8)]).wait()
        assert driver.live().events == 4
        kept.wait()
        del kept
        transfers = [engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, 8)]) for _ in range(2)]
        assert driver.live().events == 4  # `kept` gave its events back once, not twice
        for transfer in transfers:
            transfer.wait()


def test_copies_over_two_mappings_are_not_joined(driver: EmulatedDriver) -> None:
    spy: Any = Spy(driver, "missing")
    here = Location.device(0)
    with (
        opened(driver) as device,
        Arena(driver, 0, 2 * PAGE, PAGE) as arena,
        mapped(driver, 2 * PAGE, here, here) as far,
    ):
        arena.grow(2)
        quarter = PAGE // 4
        with CopyEngine(spy, device) as engine:
            pieces = [Copy(far + at, arena.address + at, quarter) for at in range(0, 2 * PAGE, quarter)]
            engine.copy(Direction.IN, pieces).wait()
        assert spy.singles == 2


def test_a_transfer_that_fails_under_way_ends_its_context(driver: EmulatedDriver) -> None:
    here, there = Location.device(0), Location.device(1)
    with opened(driver) as device, Buffer(driver, 0, PAGE) as local, mapped(driver, PAGE, there, here) as peer:
        engine = CopyEngine(driver, device)
        ctypes.memset(local.address, 1, 8)
        with HeldStream(driver, engine.stream(Direction.OUT)):
            transfer = engine.copy(Direction.OUT, [Copy(peer, local.address, 8)])
            later = engine.copy(Direction.OUT, [Copy(local.address + MIB, local.address, 8)])
            inject(driver.node.path, Faults(lost_gpus=(1,)))
        # The donor was lost when the copy's turn came; that sticks, and nothing after it is done.
        inject(driver.node.path, Faults())
        for one in (transfer, later):
            with pytest.raises(DriverError, match="DEVICE_UNAVAILABLE"):
                one.wait()
            with pytest.raises(DriverError, match="DEVICE_UNAVAILABLE"):
                one.done()
        assert ctypes.string_at(local.address + MIB, 8) == bytes(8)
        engine.close()

"""Device, Buffer and Arena, on the emulated driver and on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError, OutOfMemoryError
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Buffer, Location, granularity
from driver_fixtures import DRIVERS, about, any_driver, new_stream, opened, read, write

LOCAL = Location.device(0)
HOST = Location.host()


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    with any_driver(request.param, tmp_path) as driver:
        yield driver


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    with opened(driver) as device:
        yield device


@pytest.fixture
def page(driver: Driver) -> int:
    return granularity(driver, LOCAL, HOST)


def test_a_device_that_is_not_there_is_refused(driver: Driver) -> None:
    with pytest.raises(DriverError) as failure:
        Device.open(driver, 1000)
    assert failure.value.name == "CUDA_ERROR_INVALID_DEVICE"
    assert failure.value.call == "cuDeviceGet"


def test_a_closed_device_is_no_longer_current(driver: Driver) -> None:
    device = Device.open(driver, 0)
    device.close()
    device.close()
    assert int(driver.cuCtxGetCurrent()[1]) == 0


def test_a_buffer_is_rounded_up_and_given_back(driver: Driver, device: Device) -> None:
    page = granularity(driver, LOCAL)
    before, _ = device.memory_info()
    with Buffer(driver, 0, page + 1) as buffer, new_stream(driver) as stream:
        assert buffer.nbytes == 2 * page
        assert before - device.memory_info()[0] == about(driver, 2 * page)
        write(driver, buffer.address + buffer.nbytes - 3, b"end", stream)
        assert read(driver, buffer.address + buffer.nbytes - 3, 3, stream) == b"end"
    buffer.close()
    assert before - device.memory_info()[0] == about(driver, 0)


def test_a_buffer_that_does_not_fit_leaves_nothing_behind(driver: Driver, device: Device) -> None:
    before, total = device.memory_info()
    with pytest.raises(OutOfMemoryError, match="cuMemCreate failed with CUDA_ERROR_OUT_OF_MEMORY"):
        Buffer(driver, 0, 2 * total)
    assert before - device.memory_info()[0] == about(driver, 0)


def test_chunks_come_and_go_anywhere_at_fixed_addresses(driver: Driver, device: Device, page: int) -> None:
    before, _ = device.memory_info()
    with Arena(driver, 0, 7 * page, 2 * page) as arena, new_stream(driver) as stream:
        assert (arena.capacity_bytes, arena.capacity_chunks, arena.mapped_bytes) == (8 * page, 4, 0)
        assert arena.grow(3) == [0, 1, 2]
        assert arena.mapped_bytes == arena.bytes_at(LOCAL) == 6 * page
        assert before - device.memory_info()[0] == about(driver, 6 * page)
        write(driver, arena.address, b"kept", stream)
        write(driver, arena.address + 2 * page - 4, b"straddles", stream)
        arena.unmap([1])
        assert arena.locations() == (LOCAL, None, LOCAL, None)
        assert before - device.memory_info()[0] == about(driver, 4 * page)
        assert arena.grow(2) == [1, 3]
        assert arena.locations() == (LOCAL,) * 4
        assert read(driver, arena.address, 4, stream) == b"kept"
        assert read(driver, arena.address + 2 * page - 4, 4, stream) == b"stra"
        arena.unmap([3, 0])
        arena.map([3], LOCAL)
        assert [arena.location(chunk) for chunk in range(4)] == [None, LOCAL, LOCAL, LOCAL]
    arena.close()
    assert before - device.memory_info()[0] == about(driver, 0)


def test_an_arena_grows_by_all_or_none(driver: Driver, device: Device, page: int) -> None:
    before, _ = device.memory_info()
    half = (before // 2) // page * page
    with Arena(driver, 0, 4 * half, half) as arena:
        arena.grow(1)
        with pytest.raises(OutOfMemoryError):
            arena.grow(2)
        with pytest.raises(OutOfMemoryError):
            arena.map([3, 1], LOCAL)
        assert arena.locations() == (LOCAL, None, None, None)
        assert before - device.memory_info()[0] == about(driver, half)


def test_an_arena_keeps_to_its_bounds(driver: Driver, device: Device, page: int) -> None:
    with pytest.raises(ValueError, match="can't be made"):
        Arena(driver, 0, 0, page)
    with Arena(driver, 0, 3 * page, page) as arena:
        with pytest.raises(ValueError, match="0 of 3 are mapped"):
            arena.grow(4)
        with pytest.raises(ValueError, match="can't grow by -1"):
            arena.grow(-1)
        with pytest.raises(ValueError, match="it has no memory"):
            arena.begin_move(0, LOCAL)
        assert arena.grow(0) == []
        arena.unmap([])
        arena.map([1], LOCAL)
        for call, chunks, problem in (
            (arena.unmap, [1, 0], "chunk 0: it has no memory"),
            (arena.unmap, [1, 1], "named twice"),
            (arena.unmap, [1, 3], "there is no chunk 3"),
            (lambda chunks: arena.map(chunks, LOCAL), [0, 1], "chunk 1: it has memory already"),
            (lambda chunks: arena.map(chunks, LOCAL), [0, 0], "named twice"),
            (lambda chunks: arena.map(chunks, LOCAL), [-1], "there is no chunk -1"),
        ):
            with pytest.raises(ValueError, match=problem):
                call(chunks)
            assert arena.locations() == (None, LOCAL, None)


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_closed_arena_has_no_room(driver: Driver, device: Device, page: int, chunks: int) -> None:
    arena = Arena(driver, 0, 2 * page, page)
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        arena.grow(chunks)
    assert arena.mapped_bytes == 0


def test_chunks_are_rounded_up_to_the_granularity(driver: Driver, device: Device, page: int) -> None:
    with Arena(driver, 0, page, page + 1) as arena:
        assert arena.chunk_bytes == arena.capacity_bytes
        assert arena.chunk_bytes % page == 0
        assert arena.chunk_bytes > page + 1

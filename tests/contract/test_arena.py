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
    return granularity(driver, Location.device(0))


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


def test_a_buffer_is_rounded_up_and_given_back(driver: Driver, device: Device, page: int) -> None:
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


def test_an_arena_maps_and_unmaps_a_prefix_of_fixed_addresses(driver: Driver, device: Device, page: int) -> None:
    before, _ = device.memory_info()
    with Arena(driver, 0, 7 * page, 2 * page) as arena, new_stream(driver) as stream:
        assert (arena.capacity_bytes, arena.capacity_chunks, arena.mapped_bytes) == (8 * page, 4, 0)
        arena.grow(3)
        assert arena.mapped_bytes == 6 * page
        assert before - device.memory_info()[0] == about(driver, 6 * page)
        write(driver, arena.address, b"kept", stream)
        write(driver, arena.address + 2 * page - 4, b"straddles", stream)
        arena.shrink(1)
        assert arena.mapped_bytes == 4 * page
        assert before - device.memory_info()[0] == about(driver, 4 * page)
        arena.grow(2)
        assert arena.mapped_chunks == 4
        assert arena.locations() == (Location.device(0),) * 4
        assert read(driver, arena.address, 4, stream) == b"kept"
        assert read(driver, arena.address + 2 * page - 4, 9, stream) == b"straddles"
    arena.close()
    assert before - device.memory_info()[0] == about(driver, 0)


def test_an_arena_grows_by_all_or_none(driver: Driver, device: Device, page: int) -> None:
    before, _ = device.memory_info()
    half = (before // 2) // page * page
    with Arena(driver, 0, 4 * half, half) as arena:
        arena.grow(1)
        with pytest.raises(OutOfMemoryError):
            arena.grow(2)
        assert arena.mapped_chunks == 1
        assert before - device.memory_info()[0] == about(driver, half)


def test_an_arena_keeps_to_its_bounds(driver: Driver, device: Device, page: int) -> None:
    with pytest.raises(ValueError, match="can't be made"):
        Arena(driver, 0, 0, page)
    with Arena(driver, 0, 2 * page, page) as arena:
        with pytest.raises(ValueError, match="0 of 2 are mapped"):
            arena.grow(3)
        with pytest.raises(ValueError, match="only 0 are mapped"):
            arena.shrink(1)
        arena.grow(0)
        arena.shrink(0)


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_closed_arena_has_no_room(driver: Driver, device: Device, page: int, chunks: int) -> None:
    arena = Arena(driver, 0, 2 * page, page)
    arena.close()
    with pytest.raises(ValueError, match="closed"):
        arena.grow(chunks)
    assert arena.mapped_chunks == 0


def test_chunks_are_rounded_up_to_the_granularity(driver: Driver, device: Device, page: int) -> None:
    with Arena(driver, 0, page, page + 1) as arena:
        assert arena.chunk_bytes == arena.capacity_bytes == 2 * page

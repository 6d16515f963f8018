"""What memory calls do, on the emulated driver and on the real one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.check import call
from aquahost_cuda.driver import Driver, PartitionedDriver
from aquahost_cuda.vmm import Location, grant, granularity, reserve, unreserve
from driver_fixtures import DRIVERS, about, any_driver, mapped, name_of, new_stream, opened, read, write

GPU = Location.device(0)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    with any_driver(request.param, tmp_path) as driver, opened(driver):
        yield driver


@pytest.fixture
def page(driver: Driver) -> int:
    return granularity(driver, GPU)


def properties(driver: Driver, *, exportable: bool = False) -> Any:
    prop = driver.CUmemAllocationProp()
    prop.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    prop.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
    prop.location.id = 0
    if exportable:
        prop.requestedHandleTypes = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    return prop


def free_bytes(driver: Driver) -> int:
    return int(call(driver.cuMemGetInfo)[0])


def rights(driver: Driver, address: int) -> int:
    return int(call(driver.cuMemGetAccess, properties(driver).location, address))


def test_physical_memory_is_counted_from_create_to_release(driver: Driver, page: int) -> None:
    before = free_bytes(driver)
    handle = call(driver.cuMemCreate, 4 * page, properties(driver), 0)
    assert before - free_bytes(driver) == about(driver, 4 * page)
    call(driver.cuMemRelease, handle)
    assert before - free_bytes(driver) == about(driver, 0)


def test_a_released_handle_leaves_the_mapping_usable(driver: Driver, page: int) -> None:
    before = free_bytes(driver)
    with mapped(driver, page, GPU, GPU) as address, new_stream(driver) as stream:
        assert before - free_bytes(driver) == about(driver, page)
        write(driver, address, b"still here", stream)
        assert read(driver, address, 10, stream) == b"still here"
    assert before - free_bytes(driver) == about(driver, 0)


def test_a_reservation_takes_no_memory(driver: Driver, page: int) -> None:
    before = free_bytes(driver)
    address = reserve(driver, 16 * page)
    assert address % page == 0
    assert before - free_bytes(driver) == about(driver, 0)
    unreserve(driver, address, 16 * page)


@pytest.mark.parametrize("alignment_pages", [1, 8])
def test_reservations_are_aligned_as_asked(driver: Driver, page: int, alignment_pages: int) -> None:
    alignment = alignment_pages * page
    addresses = [reserve(driver, page, alignment) for _ in range(3)]
    assert [address % alignment for address in addresses] == [0, 0, 0]
    for address in addresses:
        unreserve(driver, address, page)


def test_sizes_must_be_granular(driver: Driver, page: int) -> None:
    assert name_of(driver.cuMemCreate(page + 1, properties(driver), 0)) == "CUDA_ERROR_INVALID_VALUE"
    assert name_of(driver.cuMemCreate(page, properties(driver), 1)) == "CUDA_ERROR_INVALID_VALUE"


def test_more_than_there_is_cannot_be_created(driver: Driver, page: int) -> None:
    total = int(call(driver.cuDeviceTotalMem, 0))
    too_much = (total // page + 1) * page
    before = free_bytes(driver)
    assert name_of(driver.cuMemCreate(too_much, properties(driver), 0)) == "CUDA_ERROR_OUT_OF_MEMORY"
    assert before - free_bytes(driver) == about(driver, 0)


def test_mappings_begin_without_access_and_lose_it_with_the_mapping(driver: Driver, page: int) -> None:
    address = reserve(driver, page)
    handle = call(driver.cuMemCreate, page, properties(driver), 0)
    for _ in range(2):
        call(driver.cuMemMap, address, page, 0, handle, 0)
        assert rights(driver, address) == 0
        grant(driver, address, page, [GPU])
        assert rights(driver, address) == 3
        call(driver.cuMemUnmap, address, page)
    call(driver.cuMemRelease, handle)
    unreserve(driver, address, page)


def test_only_unmapped_addresses_can_be_mapped(driver: Driver, page: int) -> None:
    with mapped(driver, page, GPU) as address:
        handle = call(driver.cuMemCreate, page, properties(driver), 0)
        assert name_of(driver.cuMemMap(address, page, 0, handle, 0)) != "CUDA_SUCCESS"
        call(driver.cuMemRelease, handle)


def test_a_part_of_a_mapping_cannot_be_unmapped(driver: Driver, page: int) -> None:
    with mapped(driver, 2 * page, GPU, GPU) as address, new_stream(driver) as stream:
        assert name_of(driver.cuMemUnmap(address, page)) != "CUDA_SUCCESS"
        write(driver, address + page, b"whole", stream)
        assert read(driver, address + page, 5, stream) == b"whole"


def test_access_needs_a_range_that_is_mapped_from_end_to_end(driver: Driver, page: int) -> None:
    address = reserve(driver, 2 * page)
    handle = call(driver.cuMemCreate, page, properties(driver), 0)
    call(driver.cuMemMap, address, page, 0, handle, 0)
    descriptor = driver.CUmemAccessDesc()
    descriptor.location = properties(driver).location
    descriptor.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    assert name_of(driver.cuMemSetAccess(address, 2 * page, [descriptor], 1)) == "CUDA_ERROR_INVALID_VALUE"
    call(driver.cuMemUnmap, address, page)
    call(driver.cuMemRelease, handle)
    unreserve(driver, address, 2 * page)


def test_one_call_grants_access_to_mappings_side_by_side(driver: Driver, page: int) -> None:
    address = reserve(driver, 2 * page)
    for offset in (0, page):
        handle = call(driver.cuMemCreate, page, properties(driver), 0)
        call(driver.cuMemMap, address + offset, page, 0, handle, 0)
        call(driver.cuMemRelease, handle)
    grant(driver, address, 2 * page, [GPU])
    with new_stream(driver) as stream:
        write(driver, address + page - 4, b"across it", stream)
        assert read(driver, address + page - 4, 9, stream) == b"across it"
    for offset in (0, page):
        call(driver.cuMemUnmap, address + offset, page)
    unreserve(driver, address, 2 * page)


def test_a_mapping_must_lie_in_a_reservation(driver: Driver, page: int) -> None:
    address = reserve(driver, page)
    handle = call(driver.cuMemCreate, 2 * page, properties(driver), 0)
    assert name_of(driver.cuMemMap(address, 2 * page, 0, handle, 0)) != "CUDA_SUCCESS"
    call(driver.cuMemRelease, handle)
    unreserve(driver, address, page)


def test_an_exported_allocation_is_the_same_memory_under_a_second_handle(driver: Driver, page: int) -> None:
    if isinstance(driver, PartitionedDriver):
        pytest.skip("a GPU's part counts imported memory for its exporter alone")
    kind = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    before = free_bytes(driver)
    first = call(driver.cuMemCreate, page, properties(driver, exportable=True), 0)
    descriptor = int(call(driver.cuMemExportToShareableHandle, first, kind, 0))
    second = call(driver.cuMemImportFromShareableHandle, descriptor, kind)
    os.close(descriptor)
    one, other = reserve(driver, page), reserve(driver, page)
    for address, handle in ((one, first), (other, second)):
        call(driver.cuMemMap, address, page, 0, handle, 0)
        grant(driver, address, page, [GPU])
    assert before - free_bytes(driver) == about(driver, page)
    call(driver.cuMemRelease, first)
    call(driver.cuMemRelease, second)
    with new_stream(driver) as stream:
        write(driver, one, b"shared", stream)
        assert read(driver, other, 6, stream) == b"shared"
    call(driver.cuMemUnmap, one, page)
    assert before - free_bytes(driver) == about(driver, page)
    call(driver.cuMemUnmap, other, page)
    assert before - free_bytes(driver) == about(driver, 0)
    for address in (one, other):
        unreserve(driver, address, page)


def test_only_memory_made_for_it_can_be_exported(driver: Driver, page: int) -> None:
    kind = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    handle = call(driver.cuMemCreate, page, properties(driver), 0)
    assert name_of(driver.cuMemExportToShareableHandle(handle, kind, 0)) != "CUDA_SUCCESS"
    call(driver.cuMemRelease, handle)


def test_plain_and_pinned_memory_hold_bytes(driver: Driver) -> None:
    device, host = call(driver.cuMemAlloc, 4096), call(driver.cuMemHostAlloc, 4096, 0)
    with new_stream(driver) as stream:
        write(driver, int(device), b"to and fro", stream)
        call(driver.cuMemcpyAsync, host, device, 10, stream)
        assert read(driver, int(host), 10, stream) == b"to and fro"
    call(driver.cuMemFree, device)
    call(driver.cuMemFreeHost, host)

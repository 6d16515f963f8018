"""What the emulated driver refuses where CUDA would fault, or leaves the misuse undefined."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.vmm import Buffer, Location, grant, map_memory, reserve, unmap_memory, unreserve
from driver_fixtures import (
    MIB,
    PAGE,
    HeldStream,
    emulated,
    mapped,
    name_of,
    new_event,
    new_stream,
    opened,
    small_node,
)

ONE, TWO = Location.device(0), Location.device(1)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver, opened(driver):
        yield driver


def memory_protection(address: int) -> str:
    """What the kernel lets the process do at an address, as in "rw-s"."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, protection = line.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return protection
    return "none"


def copy(driver: EmulatedDriver, dst: int, src: int, nbytes: int = 1024) -> str:
    with new_stream(driver) as stream:
        return name_of(driver.cuMemcpyAsync(dst, src, nbytes, stream))


def test_nothing_works_before_init(tmp_path: Path) -> None:
    driver = EmulatedDriver(small_node(tmp_path))
    for answer in (driver.cuDeviceGetCount(), driver.cuCtxGetCurrent(), driver.cuMemAddressReserve(PAGE, 0, 0, 0)):
        assert name_of(answer) == "CUDA_ERROR_NOT_INITIALIZED"
    driver.close()


def test_memory_can_be_touched_just_where_it_is_mapped_with_access(driver: EmulatedDriver) -> None:
    address = reserve(driver, 2 * PAGE)
    assert memory_protection(address) == "---p"
    map_memory(driver, address, PAGE, ONE)
    assert memory_protection(address) == "---s"
    grant(driver, address, PAGE, [ONE])
    assert (memory_protection(address), memory_protection(address + PAGE)) == ("rw-s", "---p")
    ctypes.memset(address, 3, PAGE)
    unmap_memory(driver, address, PAGE)
    assert memory_protection(address) == "---p"
    unreserve(driver, address, 2 * PAGE)


def test_read_access_is_no_write_access(driver: EmulatedDriver) -> None:
    with mapped(driver, PAGE, ONE) as read_only, Buffer(driver, 0, PAGE) as buffer:
        descriptor = driver.CUmemAccessDesc()
        descriptor.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        descriptor.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READ
        call(driver.cuMemSetAccess, read_only, PAGE, [descriptor], 1)
        assert memory_protection(read_only) == "r--s"
        assert copy(driver, buffer.address, read_only) == "CUDA_SUCCESS"
        assert copy(driver, read_only, buffer.address) == "CUDA_ERROR_INVALID_VALUE"


def test_a_copy_needs_access_on_both_sides(driver: EmulatedDriver) -> None:
    with Buffer(driver, 0, PAGE) as mine, mapped(driver, PAGE, ONE) as closed, mapped(driver, PAGE, TWO, TWO) as theirs:
        for other in (closed, theirs):
            assert copy(driver, mine.address, other) == "CUDA_ERROR_INVALID_VALUE"
            assert copy(driver, other, mine.address) == "CUDA_ERROR_INVALID_VALUE"
        grant(driver, theirs, PAGE, [ONE])
        assert copy(driver, mine.address, theirs) == "CUDA_SUCCESS"


def test_a_copy_must_not_leave_its_memory(driver: EmulatedDriver) -> None:
    address = reserve(driver, 2 * PAGE)
    map_memory(driver, address, PAGE, ONE)
    grant(driver, address, PAGE, [ONE])
    with Buffer(driver, 0, PAGE) as buffer:
        assert copy(driver, buffer.address, address + PAGE - 512) == "CUDA_ERROR_INVALID_VALUE"
        assert copy(driver, buffer.address, address + PAGE) == "CUDA_ERROR_INVALID_VALUE"
        assert copy(driver, buffer.address, 0) == "CUDA_ERROR_INVALID_VALUE"
    unmap_memory(driver, address, PAGE)
    unreserve(driver, address, 2 * PAGE)


def test_plain_memory_belongs_to_its_gpu_alone(driver: EmulatedDriver) -> None:
    plain = int(call(driver.cuMemAlloc, 1024))
    with opened(driver, 1), Buffer(driver, 1, PAGE) as buffer:
        assert copy(driver, buffer.address, plain) == "CUDA_ERROR_INVALID_VALUE"
    with opened(driver, 0):
        call(driver.cuMemFree, plain)


def test_copies_of_a_batch_must_not_overlap(driver: EmulatedDriver) -> None:
    attributes = driver.CUmemcpyAttributes()
    attributes.srcAccessOrder = driver.CUmemcpySrcAccessOrder.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM

    def batch(*pairs: tuple[int, int]) -> str:
        targets = [driver.CUdeviceptr(dst) for dst, _ in pairs]
        sources = [driver.CUdeviceptr(src) for _, src in pairs]
        return name_of(driver.cuMemcpyBatchAsync(targets, sources, [100] * 2, 2, [attributes], [0], 1, stream))

    with Buffer(driver, 0, PAGE) as buffer, new_stream(driver) as stream:
        base = buffer.address
        assert batch((base, base + 1000), (base + 99, base + 2000)) == "CUDA_ERROR_INVALID_VALUE"
        assert batch((base, base + 1000), (base + 500, base + 99)) == "CUDA_ERROR_INVALID_VALUE"
        assert batch((base, base + 1000), (base + 100, base + 1000)) == "CUDA_SUCCESS"


def test_a_queued_copy_whose_memory_vanishes_fails_its_context(driver: EmulatedDriver) -> None:
    address = reserve(driver, PAGE)
    map_memory(driver, address, PAGE, ONE)
    grant(driver, address, PAGE, [ONE])
    with opened(driver, 1) as other, Buffer(driver, 0, PAGE) as buffer, opened(driver, 0) as device:
        stream = call(driver.cuStreamCreate, 1)
        held = HeldStream(driver, stream)
        call(driver.cuMemcpyAsync, buffer.address, address, PAGE, stream)
        unmap_memory(driver, address, PAGE)
        held.release()
        assert name_of(driver.cuStreamSynchronize(stream)) == "CUDA_ERROR_ILLEGAL_ADDRESS"
        # The error sticks to the context, as on a GPU, and to no other.
        assert name_of(driver.cuMemGetInfo()) == "CUDA_ERROR_ILLEGAL_ADDRESS"
        assert name_of(driver.cuStreamCreate(1)) == "CUDA_ERROR_ILLEGAL_ADDRESS"
        other.memory_info()
        device.close()
    unreserve(driver, address, PAGE)


def test_a_reservation_with_a_mapping_cannot_be_freed(driver: EmulatedDriver) -> None:
    with mapped(driver, PAGE, ONE) as address:
        assert name_of(driver.cuMemAddressFree(address, PAGE)) == "CUDA_ERROR_INVALID_VALUE"
    address = reserve(driver, 2 * PAGE)
    assert name_of(driver.cuMemAddressFree(address, PAGE)) == "CUDA_ERROR_INVALID_VALUE"
    unreserve(driver, address, 2 * PAGE)


def test_handles_that_do_not_exist_are_refused(driver: EmulatedDriver) -> None:
    for answer in (
        driver.cuStreamSynchronize(77),
        driver.cuStreamDestroy(77),
        driver.cuEventQuery(77),
        driver.cuEventDestroy(77),
    ):
        assert name_of(answer) == "CUDA_ERROR_INVALID_HANDLE"
    for answer in (driver.cuMemRelease(77), driver.cuMemFree(77), driver.cuMemFreeHost(77)):
        assert name_of(answer) == "CUDA_ERROR_INVALID_VALUE"
    assert name_of(driver.cuCtxSetCurrent(77)) == "CUDA_ERROR_INVALID_CONTEXT"
    assert name_of(driver.cuDevicePrimaryCtxRelease(3)) == "CUDA_ERROR_INVALID_CONTEXT"


def test_an_event_records_streams_of_its_own_gpu_only(driver: EmulatedDriver) -> None:
    with new_event(driver) as event, opened(driver, 1), new_stream(driver) as stream:
        assert name_of(driver.cuEventRecord(event, stream)) == "CUDA_ERROR_INVALID_HANDLE"


def test_a_descriptor_that_is_no_memory_of_the_node_is_refused(driver: EmulatedDriver, tmp_path: Path) -> None:
    kind = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert name_of(driver.cuMemImportFromShareableHandle(descriptor, kind)) == "CUDA_ERROR_INVALID_VALUE"
    os.close(descriptor)


def test_host_memory_can_be_mapped_for_a_gpu_and_the_host(driver: EmulatedDriver) -> None:
    free_before = driver.memory_of(0)
    with mapped(driver, PAGE, Location.host(), ONE, Location.host()) as address, Buffer(driver, 0, PAGE) as buffer:
        assert copy(driver, address, buffer.address) == "CUDA_SUCCESS"
        assert free_before[0] - driver.memory_of(0)[0] == PAGE
    with mapped(driver, PAGE, ONE) as address:
        descriptor = driver.CUmemAccessDesc()
        descriptor.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST
        descriptor.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        assert name_of(driver.cuMemSetAccess(address, PAGE, [descriptor], 1)) == "CUDA_ERROR_INVALID_VALUE"


def test_the_default_stream_is_done_when_the_call_returns(driver: EmulatedDriver) -> None:
    blocking = call(driver.cuStreamCreate, 0)
    with Buffer(driver, 0, 2 * PAGE) as buffer:
        call(driver.cuMemsetD8Async, buffer.address, 6, MIB, blocking)
        call(driver.cuMemcpyAsync, buffer.address + PAGE, buffer.address, MIB, 0)
        assert ctypes.string_at(buffer.address + PAGE, MIB) == b"\6" * MIB
    call(driver.cuStreamDestroy, blocking)


def test_the_last_release_ends_what_the_context_held(driver: EmulatedDriver) -> None:
    call(driver.cuDevicePrimaryCtxRetain, 1)
    with opened(driver, 1), Buffer(driver, 1, PAGE) as buffer:
        call(driver.cuMemAlloc, 100)
        stream = call(driver.cuStreamCreate, 1)
        call(driver.cuMemsetD8Async, buffer.address, 1, 100, stream)
        call(driver.cuStreamSynchronize, stream)
    workers = [thread for thread in threading.enumerate() if thread.name == "emulated-gpu1-stream"]
    assert len(workers) == 1
    assert driver.memory_of(1)[0] == driver.memory_of(1)[1] - PAGE
    call(driver.cuDevicePrimaryCtxRelease, 1)
    workers[0].join(10)
    assert not workers[0].is_alive()
    assert driver.memory_of(1)[0] == driver.memory_of(1)[1]
    with opened(driver, 0):
        assert name_of(driver.cuStreamSynchronize(stream)) == "CUDA_ERROR_INVALID_HANDLE"


def test_a_copy_of_pageable_memory_is_done_when_the_call_returns(driver: EmulatedDriver) -> None:
    source = ctypes.create_string_buffer(b"pageable")
    with Buffer(driver, 0, PAGE) as buffer, new_stream(driver) as stream:
        with HeldStream(driver, stream) as held:
            threading.Timer(0.05, held.release).start()
            call(driver.cuMemcpyAsync, buffer.address, ctypes.addressof(source), 8, stream)
            assert name_of(driver.cuStreamQuery(stream)) == "CUDA_SUCCESS"
        assert ctypes.string_at(buffer.address, 8) == b"pageable"


def test_a_refusal_of_the_operating_system_takes_no_memory(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_descriptors(name: str) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", out_of_descriptors)
    with pytest.raises(DriverError, match=r"CUDA_ERROR_OPERATING_SYSTEM: out of file descriptors"):
        Buffer(driver, 0, PAGE)
    assert driver.memory_of(0)[0] == driver.node.gpu_bytes

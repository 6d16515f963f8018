"""What streams, events, copies and contexts do, on the emulated driver and on the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquahost_cuda.check import call
from aquahost_cuda.device import Device, read_gpus
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Buffer
from driver_fixtures import (
    DRIVERS,
    MIB,
    HeldStream,
    any_driver,
    name_of,
    new_event,
    new_stream,
    opened,
    read,
    write,
)

DISABLE_TIMING = 2


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    with any_driver(request.param, tmp_path) as driver, opened(driver):
        yield driver


@pytest.fixture
def memory(driver: Driver) -> Iterator[int]:
    """Address of 4 MiB on GPU 0."""
    with Buffer(driver, 0, 4 * MIB) as buffer:
        yield buffer.address


@pytest.fixture
def stream(driver: Driver) -> Iterator[int]:
    with new_stream(driver) as stream:
        yield stream


def in_new_thread(work: Any) -> Any:
    """What `work()` returns in a thread that has no GPU current."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


def test_gpus_say_what_they_are(driver: Driver) -> None:
    gpus = read_gpus(driver)
    assert [gpu.index for gpu in gpus] == list(range(call(driver.cuDeviceGetCount)))
    assert len({gpu.uuid for gpu in gpus}) == len(gpus)
    assert all(gpu.uuid.startswith("GPU-") and len(gpu.uuid) == 40 and gpu.name for gpu in gpus)
    assert all(0 < gpu.free_bytes <= gpu.total_bytes for gpu in gpus)


def test_memory_management_and_sharing_are_supported(driver: Driver) -> None:
    attributes = driver.CUdevice_attribute
    for attribute in (
        attributes.CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED,
        attributes.CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
    ):
        assert call(driver.cuDeviceGetAttribute, attribute, 0) == 1


def test_a_gpu_that_is_not_there_is_refused(driver: Driver) -> None:
    count = call(driver.cuDeviceGetCount)
    assert name_of(driver.cuDeviceGet(count)) == "CUDA_ERROR_INVALID_DEVICE"
    rank = driver.CUdevice_P2PAttribute.CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK
    assert name_of(driver.cuDeviceGetP2PAttribute(rank, 0, 0)) == "CUDA_ERROR_INVALID_DEVICE"


def test_result_codes_have_names(driver: Driver) -> None:
    code = driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    assert call(driver.cuGetErrorName, code) == b"CUDA_ERROR_OUT_OF_MEMORY"
    assert call(driver.cuGetErrorString, code)


def test_a_thread_needs_a_current_gpu(driver: Driver) -> None:
    assert in_new_thread(lambda: int(call(driver.cuCtxGetCurrent))) == 0
    assert name_of(in_new_thread(driver.cuMemGetInfo)) == "CUDA_ERROR_INVALID_CONTEXT"
    assert name_of(in_new_thread(lambda: driver.cuStreamCreate(1))) == "CUDA_ERROR_INVALID_CONTEXT"
    assert name_of(in_new_thread(lambda: driver.cuMemAlloc(1024))) == "CUDA_ERROR_INVALID_CONTEXT"


def test_a_device_can_be_made_current_in_another_thread(driver: Driver) -> None:
    with Device.open(driver, 0) as device:

        def activated() -> Any:
            device.activate()
            return driver.cuMemGetInfo()

        assert name_of(in_new_thread(activated)) == "CUDA_SUCCESS"


def test_work_of_a_stream_is_done_in_order(driver: Driver, memory: int, stream: int) -> None:
    for value in (1, 2, 3):
        call(driver.cuMemsetD8Async, memory, value, MIB, stream)
    call(driver.cuMemcpyAsync, memory + MIB, memory, MIB, stream)
    call(driver.cuMemsetD8Async, memory, 9, MIB, stream)
    assert set(read(driver, memory + MIB, MIB, stream)) == {3}
    assert set(read(driver, memory, MIB, stream)) == {9}


def test_a_busy_stream_is_not_ready(driver: Driver, stream: int) -> None:
    assert name_of(driver.cuStreamQuery(stream)) == "CUDA_SUCCESS"
    with HeldStream(driver, stream) as held:
        assert name_of(driver.cuStreamQuery(stream)) == "CUDA_ERROR_NOT_READY"
        held.release()
        call(driver.cuStreamSynchronize, stream)
        assert name_of(driver.cuStreamQuery(stream)) == "CUDA_SUCCESS"


def test_an_event_happens_with_the_work_it_captured(driver: Driver, stream: int) -> None:
    with new_event(driver) as event:
        assert name_of(driver.cuEventQuery(event)) == "CUDA_SUCCESS"  # "represents an empty set of work"
        with HeldStream(driver, stream) as held:
            call(driver.cuEventRecord, event, stream)
            assert name_of(driver.cuEventQuery(event)) == "CUDA_ERROR_NOT_READY"
            held.release()
            call(driver.cuEventSynchronize, event)
            assert name_of(driver.cuEventQuery(event)) == "CUDA_SUCCESS"


def test_elapsed_time_needs_two_timed_events_that_happened(driver: Driver, stream: int) -> None:
    with new_event(driver) as start, new_event(driver) as end, new_event(driver, DISABLE_TIMING) as untimed:
        assert name_of(driver.cuEventElapsedTime(start, end)) == "CUDA_ERROR_INVALID_HANDLE"
        call(driver.cuEventRecord, start, stream)
        call(driver.cuEventRecord, untimed, stream)
        with HeldStream(driver, stream):
            call(driver.cuEventRecord, end, stream)
            assert name_of(driver.cuEventElapsedTime(start, end)) == "CUDA_ERROR_NOT_READY"
        call(driver.cuEventSynchronize, end)
        assert call(driver.cuEventElapsedTime, start, end) >= 0
        assert name_of(driver.cuEventElapsedTime(start, untimed)) == "CUDA_ERROR_INVALID_HANDLE"


def test_a_stream_waits_for_another_ones_event(driver: Driver, memory: int, stream: int) -> None:
    with new_stream(driver) as other, new_event(driver) as event:
        with HeldStream(driver, stream):
            call(driver.cuMemsetD8Async, memory, 7, MIB, stream)
            call(driver.cuEventRecord, event, stream)
            call(driver.cuStreamWaitEvent, other, event, 0)
            call(driver.cuMemcpyAsync, memory + MIB, memory, MIB, other)
            assert name_of(driver.cuStreamQuery(other)) == "CUDA_ERROR_NOT_READY"
        assert set(read(driver, memory + MIB, MIB, other)) == {7}


def test_a_wait_keeps_the_state_it_saw(driver: Driver, stream: int) -> None:
    with new_stream(driver) as other, new_event(driver) as event:
        call(driver.cuEventRecord, event, stream)
        call(driver.cuStreamWaitEvent, other, event, 0)
        with HeldStream(driver, stream):
            call(driver.cuEventRecord, event, stream)
            call(driver.cuStreamSynchronize, other)
            assert name_of(driver.cuEventQuery(event)) == "CUDA_ERROR_NOT_READY"


def test_a_destroyed_stream_finishes_its_work(driver: Driver, memory: int, stream: int) -> None:
    doomed = int(call(driver.cuStreamCreate, 1))
    with new_event(driver) as event:
        with HeldStream(driver, stream):
            call(driver.cuEventRecord, event, stream)
            call(driver.cuStreamWaitEvent, doomed, event, 0)
            call(driver.cuMemsetD8Async, memory, 5, MIB, doomed)
            call(driver.cuEventRecord, event, doomed)
            call(driver.cuStreamDestroy, doomed)
        call(driver.cuEventSynchronize, event)
        assert set(read(driver, memory, MIB, stream)) == {5}


def batch(driver: Driver, pairs: list[tuple[int, int, int]], stream: int, **changes: Any) -> str:
    """Copy (dst, src, bytes) pairs in a batch whose attributes are right unless changed; the result's name."""
    attributes = driver.CUmemcpyAttributes()
    attributes.srcAccessOrder = driver.CUmemcpySrcAccessOrder.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
    arguments: dict[str, Any] = {
        "dsts": [driver.CUdeviceptr(dst) for dst, _, _ in pairs],
        "srcs": [driver.CUdeviceptr(src) for _, src, _ in pairs],
        "sizes": [nbytes for _, _, nbytes in pairs],
        "count": len(pairs),
        "attrs": [attributes],
        "attrsIdxs": [0],
        "numAttrs": 1,
        "hStream": stream,
    }
    return name_of(driver.cuMemcpyBatchAsync(**(arguments | changes)))


def test_a_batch_copies_every_pair(driver: Driver, memory: int, stream: int) -> None:
    write(driver, memory, b"".join(bytes([i]) * 64 for i in range(16)), stream)
    pairs = [(memory + MIB + 64 * i, memory + 64 * (15 - i), 64) for i in range(16)]
    assert batch(driver, pairs, stream) == "CUDA_SUCCESS"
    expected = b"".join(bytes([15 - i]) * 64 for i in range(16))
    assert read(driver, memory + MIB, 1024, stream) == expected


def test_a_batch_with_wrong_attributes_is_refused(driver: Driver, memory: int, stream: int) -> None:
    pairs = [(memory + MIB, memory, 64), (memory + 2 * MIB, memory, 64)]
    unset = driver.CUmemcpyAttributes()
    assert batch(driver, pairs, stream, attrs=[unset]) == "CUDA_ERROR_INVALID_VALUE"
    assert batch(driver, pairs, stream, attrsIdxs=[1]) == "CUDA_ERROR_INVALID_VALUE"
    assert batch(driver, pairs, 0) == "CUDA_ERROR_INVALID_VALUE"  # "Must not be legacy NULL stream"


def test_batches_take_pointers_not_ints(driver: Driver, memory: int, stream: int) -> None:
    with pytest.raises(TypeError):
        batch(driver, [(memory + MIB, memory, 64)], stream, dsts=[memory + MIB])

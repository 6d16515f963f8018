"""Many threads at once: every copy arrives, and the books come out even."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.check import DriverError, OutOfMemoryError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.emulated import mover
from aquahost_cuda.vmm import Buffer, Location, grant, map_memory, reserve, unmap_memory, unreserve
from driver_fixtures import (
    MIB,
    PAGE,
    HeldStream,
    emulated,
    mapped,
    name_of,
    new_stream,
    opened,
    read,
    small_node,
    write,
)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


def together(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def test_each_gpu_copies_to_its_neighbour_and_back(driver: EmulatedDriver) -> None:
    arrived: dict[int, bytes] = {}

    def work(gpu: int) -> None:
        here, there = Location.device(gpu), Location.device((gpu + 1) % 4)
        with (
            Device.open(driver, gpu) as device,
            CopyEngine(driver, device) as engine,
            Buffer(driver, gpu, 2 * PAGE) as local,
            mapped(driver, PAGE, there, here) as peer,
        ):
            stream = engine.stream(Direction.OUT)
            write(driver, local.address, bytes([gpu + 1]) * MIB, stream)
            for _ in range(20):
                out = engine.copy(Direction.OUT, [Copy(peer, local.address, MIB)])
                out.hold(engine.stream(Direction.IN))
                engine.copy(Direction.IN, [Copy(local.address + PAGE, peer, MIB)]).wait()
            arrived[gpu] = read(driver, local.address + PAGE, MIB, stream)

    together([threading.Thread(target=work, args=(gpu,)) for gpu in range(4)])
    assert arrived == {gpu: bytes([gpu + 1]) * MIB for gpu in range(4)}


def test_threads_that_allocate_at_once_never_exceed_a_gpu(driver: EmulatedDriver) -> None:
    readings: set[int] = set()

    def work() -> None:
        for _ in range(30):
            # 40 MiB of 64: room for one holder at a time
            with contextlib.suppress(OutOfMemoryError), Buffer(driver, 0, 40 * MIB):
                readings.add(driver.memory_of(0)[0])

    together([threading.Thread(target=work) for _ in range(4)])
    assert readings == {24 * MIB}
    assert driver.memory_of(0)[0] == 64 * MIB


def test_streams_end_their_threads(driver: EmulatedDriver) -> None:
    before = threading.active_count()
    with Device.open(driver, 0) as device, Buffer(driver, 0, PAGE) as buffer:
        for _ in range(10):
            with CopyEngine(driver, device) as engine:
                engine.copy(Direction.OUT, [Copy(buffer.address + MIB, buffer.address, MIB)]).wait()
    for thread in threading.enumerate():
        if thread.name.startswith("emulated-gpu"):
            thread.join(10)
    assert threading.active_count() == before


def test_addresses_are_taken_until_their_unmapping_is_done(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, go_on = threading.Event(), threading.Event()

    def slow_copy(piece: mover.Piece, *, corrupt: bool) -> None:
        copying.set()
        assert go_on.wait(30)

    monkeypatch.setattr(mover, "_copy", slow_copy)
    here = Location.device(0)
    with opened(driver), new_stream(driver) as stream, Buffer(driver, 0, PAGE) as source:
        address = reserve(driver, PAGE)
        map_memory(driver, address, PAGE, here)
        grant(driver, address, PAGE, [here])
        call(driver.cuMemcpyAsync, address, source.address, 100, stream)
        assert copying.wait(30)
        unmapping = threading.Thread(target=unmap_memory, args=(driver, address, PAGE))
        unmapping.start()
        descriptor = driver.CUmemAccessDesc()
        descriptor.location.type = driver.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        while name_of(driver.cuMemGetAccess(descriptor.location, address)) == "CUDA_SUCCESS":
            time.sleep(0.001)  # until the unmapping has begun
        for taken in (
            lambda: map_memory(driver, address, PAGE, here),
            lambda: unmap_memory(driver, address, PAGE),
            lambda: grant(driver, address, PAGE, [here]),
            lambda: unreserve(driver, address, PAGE),
            lambda: call(driver.cuMemcpyAsync, address, source.address, 100, stream),
        ):
            with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_VALUE"):
                taken()
        assert unmapping.is_alive()
        go_on.set()
        unmapping.join(30)
        call(driver.cuStreamSynchronize, stream)
        map_memory(driver, address, PAGE, here)
        unmap_memory(driver, address, PAGE)
        unreserve(driver, address, PAGE)


def test_closing_the_driver_waits_for_streams_that_were_destroyed(tmp_path: Path) -> None:
    driver = EmulatedDriver(small_node(tmp_path))
    driver.cuInit(0)
    device = Device.open(driver, 0)
    stream = int(call(driver.cuStreamCreate, 1))
    held = HeldStream(driver, stream)
    call(driver.cuStreamDestroy, stream)
    threading.Timer(0.05, held.release).start()
    device.close()
    driver.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("emulated-gpu")]

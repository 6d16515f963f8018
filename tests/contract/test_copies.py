"""The copy engine, on the emulated driver and on the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Buffer
from driver_fixtures import DRIVERS, MIB, HeldStream, any_driver, name_of, new_stream, opened, read, write


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    with any_driver(request.param, tmp_path) as driver:
        yield driver


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    with opened(driver) as device:
        yield device


@pytest.fixture
def memory(driver: Driver, device: Device) -> Iterator[int]:
    with Buffer(driver, 0, 8 * MIB) as buffer:
        yield buffer.address


@pytest.fixture
def engine(driver: Driver, device: Device) -> Iterator[CopyEngine]:
    with CopyEngine(driver, device) as engine:
        yield engine


def test_a_batch_arrives(driver: Driver, memory: int, engine: CopyEngine) -> None:
    stream = engine.stream(Direction.OUT)
    write(driver, memory, bytes(range(200)), stream)
    copies = [Copy(memory + 4 * MIB + 1000 * i, memory + 10 * i, 10) for i in range(20)]
    transfer = engine.copy(Direction.OUT, copies)
    transfer.wait()
    assert transfer.done()
    assert transfer.nbytes == 200
    assert transfer.duration_s >= 0
    for i in range(20):
        assert read(driver, memory + 4 * MIB + 1000 * i, 10, stream) == bytes(range(10 * i, 10 * i + 10))


def test_directions_do_not_wait_for_each_other(driver: Driver, memory: int, engine: CopyEngine) -> None:
    with HeldStream(driver, engine.stream(Direction.OUT)):
        out = engine.copy(Direction.OUT, [Copy(memory + MIB, memory, 100)])
        back = engine.copy(Direction.IN, [Copy(memory + 3 * MIB, memory + 2 * MIB, 100)])
        back.wait()
        assert not out.done()
        with pytest.raises(ValueError, match="wait"):
            _ = out.duration_s
    engine.synchronize()
    assert out.done()


def test_a_copy_waits_for_the_work_it_comes_after(driver: Driver, memory: int, engine: CopyEngine) -> None:
    with new_stream(driver) as compute:
        with HeldStream(driver, compute):
            assert name_of(driver.cuMemsetD8Async(memory, 4, MIB, compute)) == "CUDA_SUCCESS"
            transfer = engine.copy(Direction.OUT, [Copy(memory + MIB, memory, MIB)], after=compute)
            assert not transfer.done()
        transfer.wait()
        assert set(read(driver, memory + MIB, MIB, compute)) == {4}


def test_another_stream_can_be_held_until_the_bytes_are_there(driver: Driver, memory: int, engine: CopyEngine) -> None:
    with new_stream(driver) as compute:
        write(driver, memory, b"x" * 1000, compute)
        with HeldStream(driver, engine.stream(Direction.IN)):
            transfer = engine.copy(Direction.IN, [Copy(memory + MIB, memory, 1000)])
            transfer.hold(compute)
            assert name_of(driver.cuMemcpyAsync(memory + 2 * MIB, memory + MIB, 1000, compute)) == "CUDA_SUCCESS"
            assert name_of(driver.cuStreamQuery(compute)) == "CUDA_ERROR_NOT_READY"
        assert read(driver, memory + 2 * MIB, 1000, compute) == b"x" * 1000
        transfer.hold(compute)


def test_an_empty_transfer_is_done(engine: CopyEngine) -> None:
    transfer = engine.copy(Direction.OUT, [])
    transfer.wait()
    assert (transfer.nbytes, transfer.done()) == (0, True)


def test_closing_waits_for_what_is_under_way(driver: Driver, device: Device, memory: int) -> None:
    engine = CopyEngine(driver, device)
    write(driver, memory, b"z" * MIB, engine.stream(Direction.OUT))
    engine.copy(Direction.OUT, [Copy(memory + MIB, memory, MIB)])
    engine.close()
    engine.close()
    with new_stream(driver) as stream:
        assert read(driver, memory + MIB, MIB, stream) == b"z" * MIB

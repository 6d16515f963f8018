"""One GPU shown as four: budgets, what counts against them, and what the parts share. Across processes, too."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError, OutOfMemoryError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device, read_gpus, read_uuid
from aquahost_cuda.driver import (
    Driver,
    EmulatedDriver,
    PartitionedDriver,
    driver_name,
    load,
    memory_reader,
    physical_index,
    why_not_cuda,
)
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.vmm import Buffer, Location, create_memory, map_handle, release_memory, reserve, unmap_memory
from aquahost_cuda.vmm import unreserve as free_addresses
from driver_fixtures import MIB, PAGE, emulated, in_parts, name_of, opened, small_node

WHOLE = {"gpus": 2, "gpu_bytes": 64 * MIB}
PART_BYTES = 16 * MIB


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path, **WHOLE) as driver:
        yield driver


@pytest.fixture
def driver(whole: EmulatedDriver, tmp_path: Path) -> Iterator[Any]:
    with in_parts(whole, tmp_path) as driver:
        yield driver


def free(driver: Any) -> list[int]:
    """MiB free on each logical GPU."""
    return [driver.memory_of(gpu)[0] // MIB for gpu in range(8)]


def test_each_gpu_appears_as_four(driver: Driver, whole: EmulatedDriver) -> None:
    readings = read_gpus(driver)
    assert [reading.index for reading in readings] == list(range(8))
    assert {reading.total_bytes for reading in readings} == {PART_BYTES}
    assert readings[5].name == "Emulated GPU (part 2 of 4)"
    assert len({reading.uuid for reading in readings}) == 8
    assert [physical_index(driver, gpu) for gpu in range(8)] == [0] * 4 + [1] * 4
    assert physical_index(whole, 1) == 1
    assert (driver_name(driver), why_not_cuda(driver)) == ("emulated", None)
    for ordinal in (-1, 8):
        assert name_of(driver.cuDeviceGet(ordinal)) == "CUDA_ERROR_INVALID_DEVICE"
        assert name_of(driver.cuDeviceGetUuid(ordinal)) == "CUDA_ERROR_INVALID_DEVICE"
        assert name_of(driver.cuDevicePrimaryCtxRetain(ordinal)) == "CUDA_ERROR_INVALID_DEVICE"
    with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_DEVICE"):
        Buffer(driver, 8, PAGE)


def test_identities_are_stable_and_of_their_own(driver: Driver, whole: EmulatedDriver, tmp_path: Path) -> None:
    again: Any = PartitionedDriver(whole, 4, str(tmp_path / "parts"))
    halves: Any = PartitionedDriver(whole, 2, str(tmp_path / "halves"))
    ours = [read_uuid(driver, gpu) for gpu in range(8)]
    assert ours == [read_uuid(again, gpu) for gpu in range(8)]
    assert not {read_uuid(halves, gpu) for gpu in range(4)} & {*ours, read_uuid(whole, 0), read_uuid(whole, 1)}
    again.close()
    halves.close()


def test_parts_of_one_gpu_reach_each_other(driver: Driver) -> None:
    def reaches(gpu: int, peer: int) -> int:
        return int(call(driver.cuDeviceCanAccessPeer, gpu, peer))

    assert [reaches(0, peer) for peer in range(8)] == [0, 1, 1, 1, 1, 1, 1, 1]
    attribute = driver.CUdevice_P2PAttribute
    rank = attribute.CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK
    supported = attribute.CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED
    assert (call(driver.cuDeviceGetP2PAttribute, rank, 4, 7), call(driver.cuDeviceGetP2PAttribute, rank, 3, 4)) == (
        0,
        0,
    )
    assert call(driver.cuDeviceGetP2PAttribute, supported, 4, 7) == 1
    assert name_of(driver.cuDeviceGetP2PAttribute(supported, 4, 4)) == "CUDA_ERROR_INVALID_DEVICE"
    assert name_of(driver.cuDeviceCanAccessPeer(0, 8)) == "CUDA_ERROR_INVALID_DEVICE"


def test_a_budget_is_all_there_is(driver: Driver, whole: EmulatedDriver) -> None:
    with opened(driver, 1) as device, Buffer(driver, 1, 10 * MIB):
        assert device.memory_info() == (6 * MIB, PART_BYTES)
        assert free(driver) == [16, 6, 16, 16, 16, 16, 16, 16]
        with pytest.raises(OutOfMemoryError, match="cuMemCreate"):
            Buffer(driver, 1, 8 * MIB)
        assert free(driver)[1] == 6
        Buffer(driver, 2, 16 * MIB).close()
        assert whole.memory_of(0)[0] == 54 * MIB
    assert free(driver) == [16] * 8


def test_memory_counts_until_handles_and_mappings_are_gone(driver: Driver) -> None:
    where = Location.device(6)
    address, other = reserve(driver, PAGE), reserve(driver, PAGE)
    handle = create_memory(driver, PAGE, where)
    map_handle(driver, address, PAGE, handle)
    map_handle(driver, other, PAGE, handle)
    for undo in (
        lambda: unmap_memory(driver, address, PAGE),
        lambda: release_memory(driver, handle),
        lambda: unmap_memory(driver, other, PAGE),
    ):
        assert free(driver)[6] == 14
        undo()
    assert free(driver)[6] == 16
    free_addresses(driver, address, PAGE)
    free_addresses(driver, other, PAGE)


def test_what_the_driver_refuses_is_not_charged(driver: Driver, whole: EmulatedDriver) -> None:
    assert name_of(driver.cuMemUnmap(PAGE, PAGE)) == "CUDA_ERROR_INVALID_VALUE"
    with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_VALUE"):
        create_memory(driver, PAGE + 1, Location.device(0))
    with Buffer(whole, 0, 60 * MIB), pytest.raises(OutOfMemoryError):  # by someone who keeps to no budget
        Buffer(driver, 0, 8 * MIB)
    assert free(driver) == [16] * 8


class Reuses:
    """A driver that, while it gives something back, already hands the same number out again to someone else."""

    def __init__(self, whole: EmulatedDriver, meanwhile: dict[str, Any]) -> None:
        self._whole, self._meanwhile = whole, meanwhile

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._whole, name)
        meanwhile = self._meanwhile.pop(name, None)
        if meanwhile is None:
            return function

        def late(*arguments: Any) -> Any:
            answer = function(*arguments)
            meanwhile()
            return answer

        return late


def test_a_handle_given_out_again_at_once_is_counted(whole: EmulatedDriver, tmp_path: Path) -> None:
    meanwhile: dict[str, Any] = {}
    with in_parts(cast("Driver", Reuses(whole, meanwhile)), tmp_path) as driver:
        parts: Any = driver
        holdings, accounts = parts._parts.holdings, parts._parts.accounts
        handle = create_memory(driver, PAGE, Location.device(1))

        def another() -> None:
            assert accounts.charge(2, PAGE)
            holdings.created(int(handle), 2, PAGE)

        meanwhile["cuMemRelease"] = another
        release_memory(driver, handle)
        assert free(driver)[1:3] == [16, 14]
        holdings.release(int(handle), lambda: (CUresult.CUDA_SUCCESS,))
        assert free(driver)[1:3] == [16, 16]


def test_what_is_not_given_back_goes_on_counting(driver: Any) -> None:
    handle = create_memory(driver, PAGE, Location.device(1))
    holdings = driver._parts.holdings
    refused = (CUresult.CUDA_ERROR_UNKNOWN,)
    assert holdings.release(int(handle), lambda: refused) == refused
    assert free(driver)[1] == 14
    with pytest.raises(RuntimeError):
        holdings.release(int(handle), raises)
    assert free(driver)[1] == 14
    release_memory(driver, handle)
    assert free(driver)[1] == 16


def raises() -> tuple[Any]:
    raise RuntimeError("the driver is gone")


def test_less_is_free_where_the_gpu_has_less(driver: Driver, whole: EmulatedDriver) -> None:
    with opened(driver, 3) as device, Buffer(whole, 0, 60 * MIB):
        assert device.memory_info() == (4 * MIB, PART_BYTES)


def test_plain_memory_counts_for_the_current_part(driver: Driver) -> None:
    assert name_of(driver.cuMemAlloc(100)) == "CUDA_ERROR_INVALID_CONTEXT"
    with opened(driver, 2), opened(driver, 1):
        address = int(call(driver.cuMemAlloc, 3 * MIB))
        call(driver.cuMemAlloc, 1)
        assert free(driver)[1] == 10
        assert name_of(driver.cuMemAlloc(12 * MIB)) == "CUDA_ERROR_OUT_OF_MEMORY"
        call(driver.cuMemFree, address)
        assert free(driver)[1] == 14
    assert free(driver) == [16] * 8  # the context has ended, and its memory with it


def test_parts_share_a_context_and_are_told_apart(driver: Driver, whole: EmulatedDriver) -> None:
    with opened(driver, 1) as one, opened(driver, 2) as two, opened(driver, 4) as far:
        assert whole.live().contexts == 2
        with Buffer(driver, 2, 4 * MIB):
            assert [device.memory_info()[0] // MIB for device in (one, two, far)] == [16, 12, 16]
        handles = []
        for device in (one, two):
            device.activate()
            handles.append(int(call(driver.cuCtxGetCurrent)))
        assert len(set(handles)) == 2
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.append(name_of(driver.cuMemGetInfo())))
        thread.start()
        thread.join()
        assert seen == ["CUDA_ERROR_INVALID_CONTEXT"]
        # torch makes the context current under its own handle; whose budget that would be nobody can tell.
        call(driver.cuCtxSetCurrent, call(whole.cuCtxGetCurrent))
        assert name_of(driver.cuMemGetInfo()) == "CUDA_ERROR_INVALID_CONTEXT"
    assert name_of(driver.cuDevicePrimaryCtxRelease(1)) == "CUDA_ERROR_INVALID_CONTEXT"
    assert name_of(driver.cuCtxSetCurrent(handles[0])) == "CUDA_ERROR_INVALID_CONTEXT"
    assert whole.live().contexts == 0


def test_what_others_allocate_can_be_counted(driver: Any) -> None:
    driver.charge_external(3, 10 * MIB)
    with pytest.raises(OutOfMemoryError):
        driver.charge_external(3, 7 * MIB)
    with pytest.raises(OutOfMemoryError):
        Buffer(driver, 3, 8 * MIB)
    driver.refund_external(3, 10 * MIB)
    assert free(driver)[3] == 16


def test_an_arena_borrows_from_parts_and_from_other_gpus(driver: Driver) -> None:
    places = [Location.device(0), Location.device(1), Location.device(7), Location.host()]
    with opened(driver) as device, Arena(driver, 0, 8 * PAGE, PAGE) as arena, CopyEngine(driver, device) as engine:
        for chunk, place in enumerate(places):
            arena.grow(1, place)
            ctypes.memset(arena.address + chunk * PAGE, chunk + 1, PAGE)
        assert free(driver) == [14, 14, 16, 16, 16, 16, 16, 14]
        move = arena.begin_move(1, Location.device(2))
        assert free(driver)[1:3] == [14, 14]
        engine.copy(Direction.OUT, [Copy(move.address, arena.address + PAGE, PAGE)]).wait()
        move.finish()
        assert free(driver)[1:3] == [16, 14]
        assert ctypes.string_at(arena.address + PAGE, PAGE) == b"\2" * PAGE


HOLDER = """
import sys
from aquahost_cuda.driver import EmulatedNode, load
from aquahost_cuda.vmm import Buffer
node = EmulatedNode(path=sys.argv[1], gpus=2, gpu_bytes=64 << 20)
driver = load("emulated", node, partition=4, path=sys.argv[2])
held = Buffer(driver, 1, 12 << 20)
driver.charge_external(2, 6 << 20)
print("held", flush=True)
sys.stdin.read()
"""


def test_budgets_are_shared_by_processes_and_outlive_no_death(driver: Driver, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path), str(tmp_path / "parts")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {"PYTHONPATH": ":".join(sys.path)}}
    with subprocess.Popen(arguments, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == b"held\n"
        assert free(driver)[:4] == [16, 4, 10, 16]
        with pytest.raises(OutOfMemoryError):
            Buffer(driver, 1, 6 * MIB)
        Buffer(driver, 1, 4 * MIB).close()
        holder.kill()
        holder.wait()
        assert free(driver)[:4] == [16] * 4
        Buffer(driver, 1, 16 * MIB).close()


def test_a_folder_has_one_shape(driver: Driver, whole: EmulatedDriver, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is open as"):
        PartitionedDriver(whole, 2, str(tmp_path / "parts"))
    with pytest.raises(ValueError, match="too small for 40 parts"):
        PartitionedDriver(whole, 40, str(tmp_path / "other"))
    with pytest.raises(ValueError, match="0 parts"):
        PartitionedDriver(whole, 0, str(tmp_path / "other"))


def test_nothing_beyond_the_protocol_is_passed_on(driver: Any) -> None:
    assert not hasattr(driver, "live")
    assert not hasattr(driver, "node")


@pytest.mark.parametrize("choice", ["auto", "cuda"])
def test_real_gpus_are_shown_in_parts(
    monkeypatch: pytest.MonkeyPatch, whole: EmulatedDriver, tmp_path: Path, choice: Any
) -> None:
    class LooksReal:
        """The emulated driver, seen from outside as NVIDIA's, with a GPU of 8 GiB."""

        def __getattr__(self, name: str) -> Any:
            return getattr(whole, name)

        def cuDeviceTotalMem(self, dev: Any) -> tuple[Any, int]:
            return CUresult.CUDA_SUCCESS, 8 << 30

    monkeypatch.setattr(importlib.import_module("cuda.bindings"), "driver", LooksReal(), raising=False)
    driver: Any = load(choice, partition=4, path=str(tmp_path / "parts"))
    assert isinstance(driver, PartitionedDriver)
    assert driver_name(driver) == "cuda"
    read = memory_reader(driver)
    assert read is not None
    assert read(7) == ((2 << 30) - (512 << 20), (2 << 30) - (512 << 20))  # less what a context takes
    driver.close()
    with pytest.raises(ValueError, match="need a folder"):
        load(choice, partition=4)
    assert isinstance(load(choice), LooksReal)


def test_auto_shows_no_emulated_gpu_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    driver: Any = load("auto", small_node(tmp_path), partition=4, path=str(tmp_path / "parts"))
    assert isinstance(driver, EmulatedDriver)
    driver.close()


def test_a_device_of_a_part_is_opened_as_any(driver: Driver) -> None:
    with Device.open(driver, 5) as device:
        assert (device.index, device.total_bytes) == (5, PART_BYTES)
        assert device.uuid == read_uuid(driver, 5)

"""How devices are opened, and how the GPUs are read where NVIDIA's management library is or is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquahost_cuda import device as device_module
from aquahost_cuda.check import DriverError, call
from aquahost_cuda.device import Device, GpuMonitor, read_gpus
from aquahost_cuda.driver import EmulatedDriver, Faults
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.nvml import Nvml
from driver_fixtures import MIB, emulated, name_of, opened

TAKES_A_DEVICE = {
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceTotalMem",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease",
}


class LooksReal:
    """The emulated driver seen from outside as NVIDIA's: cu* alone, each call noted, failures on request."""

    def __init__(self, driver: EmulatedDriver) -> None:
        self._driver = driver
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failing: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        if not name.lower().startswith("cu"):
            raise AttributeError(name)
        found = getattr(self._driver, name)
        if not name.startswith("cu"):
            return found

        def noted(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if name in self.failing:
                return (CUresult.CUDA_ERROR_UNKNOWN, None, None)
            return found(*arguments)

        noted.__name__ = name
        return noted

    def count(self, name: str) -> int:
        return [called for called, _ in self.calls].count(name)


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


@pytest.fixture
def driver(inner: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(device_module, "open_nvml", lambda: None)
    return LooksReal(inner)


def current(driver: Any) -> int:
    return int(call(driver.cuCtxGetCurrent))


def test_calls_get_the_device_and_not_its_number(driver: Any) -> None:
    with Device.open(driver, 2) as device:
        assert device.total_bytes == 64 * MIB
    monitor = GpuMonitor(driver)
    monitor.read()
    monitor.close()
    seen = {name: arguments[-1] for name, arguments in driver.calls if name in TAKES_A_DEVICE}
    assert set(seen) == TAKES_A_DEVICE
    assert all(isinstance(argument, driver.CUdevice) for argument in seen.values())


def test_a_device_that_fails_to_open_leaves_no_context_current(driver: Any, inner: EmulatedDriver) -> None:
    driver.failing = {"cuDeviceTotalMem"}
    with pytest.raises(DriverError, match="cuDeviceTotalMem"):
        Device.open(driver, 0)
    assert current(driver) == 0
    assert inner.live().contexts == 0
    names = [name for name, _ in driver.calls]
    assert names.index("cuDevicePrimaryCtxRelease") > len(names) - 1 - names[::-1].index("cuCtxSetCurrent")


def test_a_device_that_fails_to_open_leaves_what_was_current(driver: Any, inner: EmulatedDriver) -> None:
    with opened(inner, 1):
        before = current(driver)
        driver.failing = {"cuDeviceTotalMem"}
        with pytest.raises(DriverError):
            Device.open(driver, 0)
        assert current(driver) == before != 0


def test_reading_again_and_again_makes_each_context_once(driver: Any, inner: EmulatedDriver) -> None:
    monitor = GpuMonitor(driver)
    assert inner.live().contexts == 0
    for _ in range(3):
        assert [reading.free_bytes for reading in monitor.read()] == [64 * MIB] * 4
        assert current(driver) == 0
    assert driver.count("cuDevicePrimaryCtxRetain") == inner.live().contexts == 4
    monitor.close()
    monitor.close()
    assert inner.live().contexts == 0


def test_a_reading_leaves_what_was_current(driver: Any, inner: EmulatedDriver) -> None:
    monitor = GpuMonitor(driver)
    with opened(inner, 3):
        before = current(driver)
        monitor.read()
        assert current(driver) == before
        driver.failing = {"cuMemGetInfo"}
        monitor.read()
        assert current(driver) == before
        monitor.close()
        assert current(driver) == before


def test_a_lost_gpu_keeps_no_other_from_being_read(driver: Any, inner: EmulatedDriver) -> None:
    for read_by in (inner, driver):  # without contexts, and with
        monitor = GpuMonitor(read_by)
        inject(inner.node.path, Faults(lost_gpus=(2,)))
        readings = monitor.read()
        assert ["DEVICE_UNAVAILABLE" in str(reading.lost) for reading in readings] == [False, False, True, False]
        assert [reading.free_bytes for reading in readings] == [64 * MIB, 64 * MIB, 0, 64 * MIB]
        inject(inner.node.path, Faults())
        assert [reading.lost for reading in monitor.read()] == [None] * 4
        monitor.close()


def test_a_reading_that_fails_for_another_reason_is_no_loss(driver: Any, inner: EmulatedDriver) -> None:
    monitor = GpuMonitor(driver)
    driver.failing = {"cuMemGetInfo"}
    assert [(reading.lost, reading.free_bytes) for reading in monitor.read()] == [(None, 0)] * 4  # never read before
    driver.failing = set()
    monitor.read()
    for failing in ("cuMemGetInfo", "cuCtxSetCurrent"):
        driver.failing = {failing}
        assert [(reading.lost, reading.free_bytes) for reading in monitor.read()] == [(None, 64 * MIB)] * 4
    driver.failing = set()
    monitor.close()


def test_one_reading_holds_nothing_afterwards(driver: Any, inner: EmulatedDriver) -> None:
    assert [reading.index for reading in read_gpus(driver)] == [0, 1, 2, 3]
    assert inner.live().contexts == 0


def test_the_emulated_driver_is_read_without_a_context(inner: EmulatedDriver) -> None:
    handle = call(inner.cuDevicePrimaryCtxRetain, 0)
    assert name_of(inner.cuDevicePrimaryCtxRelease(0)) == "CUDA_SUCCESS"
    numbers_used = int(handle)
    monitor = GpuMonitor(inner)
    assert len(monitor.read()) == 4
    monitor.close()
    later = call(inner.cuDevicePrimaryCtxRetain, 0)
    assert int(later) - numbers_used == 0x10  # no context was made in between
    inner.cuDevicePrimaryCtxRelease(0)


class _NvmlError(Exception):
    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class FakeNvml(SimpleNamespace):
    """NVML that knows the GPUs it is told of."""

    def __init__(self, known: dict[str, int]) -> None:
        super().__init__(NvmlError=_NvmlError, known=known, open=True)

    def device_get_handle_by_uuid(self, uuid: str) -> str:
        if uuid not in self.known:
            raise _NvmlError("Not Found", 6)
        return uuid

    def device_get_memory_info_v2(self, handle: str) -> SimpleNamespace:
        if self.known[handle] < 0:
            raise _NvmlError("GPU is lost", 15) if self.known[handle] == -1 else _NvmlError("Unknown Error", 999)
        return SimpleNamespace(free=self.known[handle])

    def shutdown(self) -> None:
        assert self.open
        self.open = False


def test_gpus_that_nvml_knows_need_no_context(
    driver: Any, inner: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuids = [reading.uuid for reading in read_gpus(inner)]
    nvml = FakeNvml({uuid: 10 + index for index, uuid in enumerate(uuids[:3])})
    monkeypatch.setattr(device_module, "open_nvml", lambda: Nvml(nvml))
    monitor = GpuMonitor(driver)
    assert [reading.free_bytes for reading in monitor.read()] == [10, 11, 12, 64 * MIB]
    assert inner.live().contexts == 1  # of the GPU that NVML does not know
    nvml.known[uuids[1]] = -1
    readings = monitor.read()
    assert [reading.lost for reading in readings] == [
        None,
        "nvmlDeviceGetMemoryInfo_v2 failed with NVML_ERROR_GPU_IS_LOST: reset the GPU, or the machine",
        None,
        None,
    ]
    assert [reading.free_bytes for reading in readings] == [10, 0, 12, 64 * MIB]
    nvml.known[uuids[1]] = -2
    readings = monitor.read()
    assert [reading.lost for reading in readings] == [None] * 4
    assert [reading.free_bytes for reading in readings] == [10, 11, 12, 64 * MIB]
    assert inner.live().contexts == 1
    monitor.close()
    assert not nvml.open
    assert inner.live().contexts == 0


def test_a_gpu_whose_memory_nvml_never_tells_is_read_through_a_context(
    driver: Any, inner: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuids = [reading.uuid for reading in read_gpus(inner)]
    monkeypatch.setattr(device_module, "open_nvml", lambda: Nvml(FakeNvml(dict.fromkeys(uuids, -1))))
    monitor = GpuMonitor(driver)
    assert [reading.free_bytes for reading in monitor.read()] == [64 * MIB] * len(uuids)
    monitor.close()
    assert inner.live().contexts == 0


def test_a_monitor_that_cannot_be_made_lets_nvml_go(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml({})
    monkeypatch.setattr(device_module, "open_nvml", lambda: Nvml(nvml))
    driver.failing = {"cuDeviceGetName"}
    with pytest.raises(DriverError, match="cuDeviceGetName"):
        GpuMonitor(driver)
    assert not nvml.open

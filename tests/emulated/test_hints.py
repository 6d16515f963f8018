"""Hints about the machine, from files laid out as Linux does."""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquahost_cuda import hints
from aquahost_cuda.device import read_uuid
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.hints import collect_hints
from aquahost_cuda.nvml import Nvml
from driver_fixtures import MIB, emulated


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path / "node") as driver:
        yield driver


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where all is well."""
    limits = {
        resource.RLIMIT_MEMLOCK: (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
        resource.RLIMIT_NOFILE: (1 << 20, 1 << 20),
    }
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=4096, f_blocks=1 << 20))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def bridge(control: int, *, first_capability: int = 0x0D) -> bytes:
    """Configuration space of a PCIe bridge whose second extended capability is ACS."""
    config = bytearray(4096)
    struct.pack_into("<I", config, 0x100, 0x0001 | 1 << 16 | 0x140 << 20)
    struct.pack_into("<I", config, 0x140, first_capability | 1 << 16)
    struct.pack_into("<H", config, 0x146, control)
    return bytes(config)


def test_a_machine_where_all_is_well_has_no_hints(driver: EmulatedDriver, root: Path) -> None:
    assert collect_hints(driver, root) == []


@pytest.mark.parametrize(("mode", "told"), [("DMA-FQ", True), ("identity", False)])
def test_an_iommu_that_translates_is_told(driver: EmulatedDriver, root: Path, mode: str, told: bool) -> None:
    put(root / "sys/class/iommu/dmar0/name", "")
    put(root / "sys/kernel/iommu_groups/0/type", f"{mode}\n")
    put(root / "sys/kernel/iommu_groups/1/type", "identity\n")
    found = collect_hints(driver, root)
    assert bool(found) == told
    assert not told or "an IOMMU is on (dmar0; 2 groups)" in found[0]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (bridge(0x1D), True),
        (bridge(0x11), False),
        (bridge(0x1D, first_capability=0x03), False),
        (bridge(0x1D)[:64], False),  # what others than root may read
    ],
)
def test_bridges_that_redirect_are_told(driver: EmulatedDriver, root: Path, config: bytes, told: bool) -> None:
    put(root / "sys/bus/pci/devices/0000:00:01.0/class", "0x060400\n")
    put(root / "sys/bus/pci/devices/0000:00:01.0/config", config)
    put(root / "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    put(root / "sys/bus/pci/devices/0000:01:00.0/config", bridge(0x1D))
    found = collect_hints(driver, root)
    assert bool(found) == told
    assert not told or "on 1 PCI bridges" in found[0]


def test_limits_of_a_container_are_told(driver: EmulatedDriver, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_MEMLOCK: (8 * MIB, 8 * MIB), resource.RLIMIT_NOFILE: (1024, 4096)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_frsize=4096, f_blocks=64 * MIB // 4096))
    put(root / "sys/fs/cgroup/memory.max", f"{512 * MIB}\n")
    found = collect_hints(driver, root)
    starts = ["at most 8 MiB", "/dev/shm holds 64 MiB", "the memory of this container is limited to 512 MiB"]
    assert [
        hint.startswith(start) for hint, start in zip(found, [*starts, "a process may open 1024"], strict=True)
    ] == [True] * 4


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_a_limit_that_is_none_is_not_told(driver: EmulatedDriver, root: Path, limit: str) -> None:
    put(root / "sys/fs/cgroup/memory.max", limit)
    assert collect_hints(driver, root) == []


class LooksReal:
    """The emulated driver seen from outside as NVIDIA's."""

    def __init__(self, driver: EmulatedDriver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


class _NvmlError(Exception):
    pass


def test_a_gpu_that_the_fabric_does_not_know_is_told(
    driver: EmulatedDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = SimpleNamespace(NOT_SUPPORTED=0)
    names = ["NOT_SUPPORTED", "NOT_STARTED", "IN_PROGRESS", "COMPLETED"]
    uuids = [read_uuid(driver, index) for index in range(4)]

    class Enum(SimpleNamespace):
        def __call__(self, state: int) -> Any:
            return SimpleNamespace(name=names[state])

    library = SimpleNamespace(
        NvmlError=_NvmlError,
        GpuFabricState=Enum(**vars(states)),
        device_get_handle_by_uuid=uuids.index,
        device_get_memory_info_v2=lambda gpu: None,
        device_get_gpu_fabric_info_v=lambda gpu: SimpleNamespace(state=gpu),
        shutdown=lambda: None,
    )
    real: Any = LooksReal(driver)
    monkeypatch.setattr(hints, "open_nvml", lambda: Nvml(library))
    found = collect_hints(real, root)
    assert [hint.split(":")[0] for hint in found] == [
        "GPU 1 is not registered with the NVLink fabric (NOT_STARTED)",
        "GPU 2 is not registered with the NVLink fabric (IN_PROGRESS)",
    ]
    del library.device_get_gpu_fabric_info_v  # older bindings
    assert collect_hints(real, root) == []
    monkeypatch.setattr(hints, "open_nvml", lambda: None)
    assert collect_hints(real, root)[0].startswith("NVML can't be loaded")

"""What of a machine or a container may get in the way of GPUs that lend memory, in words for its owner."""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path

from aquahost_cuda.device import read_uuid
from aquahost_cuda.driver import Driver, driver_name
from aquahost_cuda.nvml import open_nvml

_MIB = 1 << 20
_LEAST_LOCKED_BYTES = 1 << 30
_LEAST_SHM_BYTES = 1 << 30
_LEAST_FILES = 4096
_ACS_CAPABILITY = 0x000D
_REDIRECTS = 0b1100  # of the ACS control register: peer requests, and completions, go upstream


def collect_hints(driver: Driver, root: Path = Path("/")) -> list[str]:
    """One sentence or two for each thing worth knowing; empty where all is well. Raises DriverError.

    `root` is where the file system of the machine begins.
    """
    hints = [*_iommu(root), *_acs(root)]
    if driver_name(driver) == "cuda":
        hints += _fabric(driver)
    return hints + _container(root)


def _iommu(root: Path) -> list[str]:
    units = _names(root / "sys/class/iommu")
    groups = _names(root / "sys/kernel/iommu_groups")
    if not units:
        return []
    translated = 0
    for group in groups:
        translated += _text(root / "sys/kernel/iommu_groups" / group / "type") not in ("identity", "")
    if groups and not translated:
        return []
    return [
        f"an IOMMU is on ({', '.join(units)}; {len(groups)} groups): copies between GPUs over PCIe may be slow or "
        "arrive corrupted unless it passes addresses through (kernel parameter iommu=pt); NVLink is not concerned"
    ]


def _acs(root: Path) -> list[str]:
    """Bridges that send what one device writes to another up to the root complex. Only root can read their state."""
    redirecting = 0
    for device in _names(root / "sys/bus/pci/devices"):
        folder = root / "sys/bus/pci/devices" / device
        if not _text(folder / "class").startswith("0x0604"):  # no PCI bridge
            continue
        try:
            redirecting += _redirects_peers((folder / "config").read_bytes())
        except OSError:
            continue
    if not redirecting:
        return []
    return [
        f"access control (ACS) redirects traffic between devices on {redirecting} PCI bridges: copies between GPUs "
        "over PCIe go through the CPU and may fail; turn ACS off in the firmware if no virtual machines need it"
    ]


def _redirects_peers(config: bytes) -> bool:
    """Whether a bridge's configuration space, if it was readable beyond the first 256 bytes, has ACS redirect on."""
    at = 0x100
    for _ in range(64):  # more capabilities than fit
        if at + 8 > len(config) or at < 0x100:
            return False
        (header,) = struct.unpack_from("<I", config, at)
        if header & 0xFFFF == _ACS_CAPABILITY:
            return bool(struct.unpack_from("<H", config, at + 6)[0] & _REDIRECTS)
        at = header >> 20
    return False


def _fabric(driver: Driver) -> list[str]:
    nvml = open_nvml()
    if nvml is None:
        return ["NVML can't be loaded: NVLink status is unknown, and reading free memory needs a context on each GPU"]
    try:
        hints = []
        for index in range(int(driver.cuDeviceGetCount()[1])):
            gpu = nvml.find(read_uuid(driver, index))
            state = nvml.fabric_state(gpu) if gpu is not None else None
            if state not in (None, "COMPLETED"):
                hints.append(
                    f"GPU {index} is not registered with the NVLink fabric ({state}): it reaches no other GPU over "
                    "NVLink; is nvidia-fabricmanager running?"
                )
        return hints
    finally:
        nvml.close()


def _container(root: Path) -> list[str]:
    hints = []
    locked_bytes = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if locked_bytes != resource.RLIM_INFINITY and locked_bytes < _LEAST_LOCKED_BYTES:
        hints.append(
            f"at most {locked_bytes / _MIB:.0f} MiB of memory may be locked: larger pinned host memory may be refused; "
            "raise it (ulimit -l unlimited, or --ulimit memlock=-1 for a container)"
        )
    shm_bytes = _size_of(root / "dev/shm")
    if shm_bytes is not None and shm_bytes < _LEAST_SHM_BYTES:
        hints.append(
            f"/dev/shm holds {shm_bytes / _MIB:.0f} MiB: libraries that share tensors between processes may fail; "
            "raise it (--shm-size for a container)"
        )
    limit_bytes = _memory_limit(root)
    if limit_bytes is not None:
        hints.append(
            f"the memory of this container is limited to {limit_bytes / _MIB:.0f} MiB: KV memory on the host, parked "
            "weights and emulated GPUs count against it, and beyond it processes are killed"
        )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < _LEAST_FILES:
        hints.append(
            f"a process may open {files} files: connections and model files need more; raise it (ulimit -n, or "
            "--ulimit nofile for a container)"
        )
    return hints


def _memory_limit(root: Path) -> int | None:
    """Bytes that the control group allows, if it is less than the machine has."""
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        text = _text(root / "sys/fs/cgroup" / name)
        if text.isdigit():
            return int(text) if int(text) < total_bytes else None
    return None


def _size_of(folder: Path) -> int | None:
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_frsize * status.f_blocks


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""

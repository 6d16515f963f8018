"""Which driver there is: NVIDIA's, as cuda.bindings.driver offers it, or the emulated one with the same functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

from aquahost_cuda.check import DriverError
from aquahost_cuda.emulated.driver import EmulatedDriver
from aquahost_cuda.emulated.node import HOST, EmulatedNode, Faults, SlowLink
from aquahost_cuda.partitioned.driver import PartitionedDriver
from aquahost_cuda.protocol import Driver

__all__ = [
    "HOST",
    "Driver",
    "DriverChoice",
    "DriverUnavailableError",
    "EmulatedDriver",
    "EmulatedNode",
    "Faults",
    "PartitionedDriver",
    "SlowLink",
    "charge_reads",
    "count_external",
    "driver_name",
    "load",
    "memory_reader",
    "physical_index",
    "why_not_cuda",
]

_CONTEXT_BYTES = 512 << 20  # what a process's context takes of a GPU, roughly: CUDA documents no figure

DriverChoice = Literal["auto", "cuda", "emulated"]


class DriverUnavailableError(Exception):
    """The driver that was asked for can't be had; the text says why and what to do."""


def load(choice: DriverChoice, node: EmulatedNode | None = None, partition: int = 1, path: str | None = None) -> Driver:
    """The driver, initialised.

    "cuda" is NVIDIA's; "emulated" is the emulated node; "auto" is NVIDIA's where it works and finds a GPU, else the
    node, and `why_not_cuda` then tells the reason. With `partition` above 1 each real GPU appears as so many smaller
    ones, and `path` is the folder where all processes of a run record what they hold of them; emulated GPUs are shown
    so only if the emulated driver was asked for by name, since a node can have any number of them anyway.

    Raises DriverUnavailableError, what opening the node raises, or ValueError where a GPU can't be partitioned so.
    """
    if choice == "emulated":
        return _partitioned(_open_node(node, None), partition, path)
    driver, reason = _find_cuda()
    if driver is not None:
        # A part is used by about one process, whose context comes out of nobody's budget.
        return _partitioned(driver, partition, path, spare_bytes=partition * _CONTEXT_BYTES)
    if choice == "cuda":
        raise DriverUnavailableError(f"no CUDA: {reason}; set the driver to auto or emulated to go on without a GPU")
    return _open_node(node, reason)


def driver_name(driver: Driver) -> Literal["cuda", "emulated"]:
    """Which of the two it is, partitioned or not."""
    return "emulated" if isinstance(_whole(driver), EmulatedDriver) else "cuda"


def why_not_cuda(driver: Driver) -> str | None:
    """Why "auto" took the emulated driver; None if it did not, or if it was not asked."""
    whole = _whole(driver)
    return whole.why_not_cuda if isinstance(whole, EmulatedDriver) else None


def physical_index(driver: Driver, gpu: int) -> int:
    """CUDA's (and torch's) number of a GPU: another than `gpu` only on a partitioned driver."""
    return driver.physical_index(gpu) if isinstance(driver, PartitionedDriver) else gpu


def count_external(driver: Driver, gpu: int, change_bytes: int) -> None:
    """Count memory that is allocated past the driver, or counted no more if negative; only a partitioned driver needs
    to be told. Raises OutOfMemoryError if the part's budget has no room.
    """
    if isinstance(driver, PartitionedDriver):
        if change_bytes > 0:
            driver.charge_external(gpu, change_bytes)
        elif change_bytes < 0:
            driver.refund_external(gpu, -change_bytes)


def memory_reader(driver: Driver) -> Callable[[int], tuple[int, int]] | None:
    """How the (free, total) bytes of a GPU are read without a context on it; None where the driver has no such way.

    CUDA has none: beside it there is NVML, for GPUs that NVML knows. The reader raises DriverError if a GPU is lost.
    """
    whole = _whole(driver)
    if not isinstance(driver, EmulatedDriver | PartitionedDriver):
        return None
    read = driver.memory_of

    def checked(gpu: int) -> tuple[int, int]:
        if isinstance(whole, EmulatedDriver) and whole.is_lost(physical_index(driver, gpu)):
            raise DriverError("memory_of", "CUDA_ERROR_DEVICE_UNAVAILABLE")
        return read(gpu)

    return checked


def charge_reads(driver: Driver, gpu: int, loads: Mapping[int, int]) -> None:
    """Let reads in place by `gpu` (bytes by where they lie: a GPU, or HOST) take their time where nothing else does: on
    the emulated driver. On a GPU the reads themselves take it, and this does nothing.
    """
    whole = _whole(driver)
    if not isinstance(whole, EmulatedDriver):
        return
    physical: dict[int, int] = {}
    for place, nbytes in loads.items():
        at = HOST if place == HOST else physical_index(driver, place)
        physical[at] = physical.get(at, 0) + nbytes
    whole.charge_reads(physical_index(driver, gpu), physical)


def _whole(driver: Driver) -> Driver:
    """The driver that knows the physical GPUs."""
    return driver.underlying if isinstance(driver, PartitionedDriver) else driver


def _partitioned(driver: Driver, parts: int, path: str | None, *, spare_bytes: int = 0) -> Driver:
    if parts == 1:
        return driver
    if path is None:
        raise ValueError("partitioned GPUs need a folder (path) for the record of who holds how much")
    # It has all functions of the protocol, but passes most on without naming them.
    return cast("Driver", PartitionedDriver(driver, parts, path, spare_bytes=spare_bytes))


def _open_node(node: EmulatedNode | None, reason: str | None) -> Driver:
    if node is None:
        because = f" (CUDA is not available: {reason})" if reason else ""
        raise DriverUnavailableError(f"the emulated driver needs a node to emulate{because}")
    driver = EmulatedDriver(node, why_not_cuda=reason)
    driver.cuInit(0)
    return driver


def _find_cuda() -> tuple[Driver | None, str]:
    """NVIDIA's driver, or why it can't be used."""
    try:
        from cuda.bindings import driver as bindings
    except ImportError as error:
        return None, f"the package cuda-bindings can't be imported ({error})"
    try:
        (status,) = bindings.cuInit(0)
        if status == 0:
            status, count = bindings.cuDeviceGetCount()
    except (RuntimeError, OSError) as error:  # libcuda.so is missing, or older than the bindings
        return None, " ".join(str(error).split())
    if status != 0:
        return None, f"the driver answers {getattr(status, 'name', status)}"
    if not count:
        return None, "the driver finds no GPU"
    return cast("Driver", bindings), ""

"""Which driver there is: NVIDIA's, as cuda.bindings.driver offers it, or the emulated one with the same functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, cast

from aquahost_cuda.emulated.driver import EmulatedDriver
from aquahost_cuda.emulated.node import HOST, EmulatedNode, Faults, SlowLink

__all__ = [
    "HOST",
    "Driver",
    "DriverChoice",
    "DriverUnavailableError",
    "EmulatedDriver",
    "EmulatedNode",
    "Faults",
    "SlowLink",
    "driver_name",
    "load",
    "memory_reader",
    "why_not_cuda",
]

DriverChoice = Literal["auto", "cuda", "emulated"]


class DriverUnavailableError(Exception):
    """The driver that was asked for can't be had; the text says why and what to do."""


def load(choice: DriverChoice, node: EmulatedNode | None = None) -> Driver:
    """The driver, initialised.

    "cuda" is NVIDIA's; "emulated" is the emulated node; "auto" is NVIDIA's where it works and finds a GPU, else the
    node, and `why_not_cuda` then tells the reason. Raises DriverUnavailableError, or what opening the node raises.
    """
    if choice == "emulated":
        return _open_node(node, None)
    driver, reason = _find_cuda()
    if driver is not None:
        return driver
    if choice == "cuda":
        raise DriverUnavailableError(f"no CUDA: {reason}; set the driver to auto or emulated to go on without a GPU")
    return _open_node(node, reason)


def driver_name(driver: Driver) -> Literal["cuda", "emulated"]:
    """Which of the two it is."""
    return "emulated" if isinstance(driver, EmulatedDriver) else "cuda"


def why_not_cuda(driver: Driver) -> str | None:
    """Why "auto" took the emulated driver; None if it did not, or if it was not asked."""
    return driver.why_not_cuda if isinstance(driver, EmulatedDriver) else None


def memory_reader(driver: Driver) -> Callable[[int], tuple[int, int]] | None:
    """How the (free, total) bytes of a GPU are read without a context on it; None where the driver has no such way.

    CUDA has none: beside it there is NVML, for GPUs that NVML knows.
    """
    return driver.memory_of if isinstance(driver, EmulatedDriver) else None


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


class Driver(Protocol):
    """The part of cuda.bindings.driver that the emulated driver offers too; that module itself is one implementation.

    More than this package calls today: peer queries, handles that other processes import, and pinned and plain memory
    are what lending memory and paging will stand on, and some calls (`cuLaunchHostFunc`, `cuMemsetD8Async`,
    `cuStreamQuery`) serve the tests that hold both implementations to one behaviour. Nothing outside this protocol may
    be called, since only what is in it is known to behave the same on both.

    Every call answers a tuple: the result code, then what it returns (None after an error). Handles and pointers may
    be passed as ints. Only `int()` reads those that are returned.
    """

    CUresult: Any
    CUdevice_attribute: Any
    CUdevice_P2PAttribute: Any
    CUmemLocationType: Any
    CUmemAllocationType: Any
    CUmemAllocationHandleType: Any
    CUmemAllocationGranularity_flags: Any
    CUmemAccess_flags: Any
    CUmemcpySrcAccessOrder: Any
    CUmemcpyFlags: Any
    CUstream_flags: Any
    CUevent_flags: Any
    CUdevice: Any
    CUdeviceptr: Any
    CUcontext: Any
    CUstream: Any
    CUevent: Any
    CUmemGenericAllocationHandle: Any
    CUuuid: Any
    CUmemLocation: Any
    CUmemAllocationProp: Any
    CUmemAccessDesc: Any
    CUmemcpyAttributes: Any

    def cuInit(self, Flags: int) -> tuple[Any]: ...
    def cuDriverGetVersion(self) -> tuple[Any, Any]: ...
    def cuGetErrorName(self, error: Any) -> tuple[Any, Any]: ...
    def cuGetErrorString(self, error: Any) -> tuple[Any, Any]: ...

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, Any]: ...
    def cuDeviceGetCount(self) -> tuple[Any, Any]: ...
    def cuDeviceGetName(self, length: int, dev: Any) -> tuple[Any, Any]: ...
    def cuDeviceGetUuid(self, dev: Any) -> tuple[Any, Any]: ...
    def cuDeviceTotalMem(self, dev: Any) -> tuple[Any, Any]: ...
    def cuDeviceGetAttribute(self, attrib: Any, dev: Any) -> tuple[Any, Any]: ...
    def cuDeviceCanAccessPeer(self, dev: Any, peerDev: Any) -> tuple[Any, Any]: ...
    def cuDeviceGetP2PAttribute(self, attrib: Any, srcDevice: Any, dstDevice: Any) -> tuple[Any, Any]: ...
    def cuDevicePrimaryCtxRetain(self, dev: Any) -> tuple[Any, Any]: ...
    def cuDevicePrimaryCtxRelease(self, dev: Any) -> tuple[Any]: ...
    def cuCtxSetCurrent(self, ctx: Any) -> tuple[Any]: ...
    def cuCtxGetCurrent(self) -> tuple[Any, Any]: ...

    def cuMemGetInfo(self) -> tuple[Any, Any, Any]: ...
    def cuMemAlloc(self, bytesize: int) -> tuple[Any, Any]: ...
    def cuMemFree(self, dptr: Any) -> tuple[Any]: ...
    def cuMemHostAlloc(self, bytesize: int, Flags: int) -> tuple[Any, Any]: ...
    def cuMemFreeHost(self, p: Any) -> tuple[Any]: ...
    def cuMemGetAllocationGranularity(self, prop: Any, option: Any) -> tuple[Any, Any]: ...
    def cuMemCreate(self, size: int, prop: Any, flags: int) -> tuple[Any, Any]: ...
    def cuMemRelease(self, handle: Any) -> tuple[Any]: ...
    def cuMemExportToShareableHandle(self, handle: Any, handleType: Any, flags: int) -> tuple[Any, Any]: ...
    def cuMemImportFromShareableHandle(self, osHandle: Any, shHandleType: Any) -> tuple[Any, Any]: ...
    def cuMemAddressReserve(self, size: int, alignment: int, addr: Any, flags: int) -> tuple[Any, Any]: ...
    def cuMemAddressFree(self, ptr: Any, size: int) -> tuple[Any]: ...
    def cuMemMap(self, ptr: Any, size: int, offset: int, handle: Any, flags: int) -> tuple[Any]: ...
    def cuMemUnmap(self, ptr: Any, size: int) -> tuple[Any]: ...
    def cuMemSetAccess(self, ptr: Any, size: int, desc: Sequence[Any] | None, count: int) -> tuple[Any]: ...
    def cuMemGetAccess(self, location: Any, ptr: Any) -> tuple[Any, Any]: ...

    def cuMemcpyAsync(self, dst: Any, src: Any, ByteCount: int, hStream: Any) -> tuple[Any]: ...
    def cuMemcpyBatchAsync(
        self,
        dsts: Sequence[Any] | None,
        srcs: Sequence[Any] | None,
        sizes: Sequence[int],
        count: int,
        attrs: Sequence[Any] | None,
        attrsIdxs: Sequence[int],
        numAttrs: int,
        hStream: Any,
    ) -> tuple[Any, ...]: ...
    def cuMemsetD8Async(self, dstDevice: Any, uc: int, N: int, hStream: Any) -> tuple[Any]: ...

    def cuStreamCreate(self, Flags: int) -> tuple[Any, Any]: ...
    def cuStreamDestroy(self, hStream: Any) -> tuple[Any]: ...
    def cuStreamQuery(self, hStream: Any) -> tuple[Any]: ...
    def cuStreamSynchronize(self, hStream: Any) -> tuple[Any]: ...
    def cuStreamWaitEvent(self, hStream: Any, hEvent: Any, Flags: int) -> tuple[Any]: ...
    def cuLaunchHostFunc(self, hStream: Any, fn: Any, userData: Any) -> tuple[Any]: ...
    def cuEventCreate(self, Flags: int) -> tuple[Any, Any]: ...
    def cuEventDestroy(self, hEvent: Any) -> tuple[Any]: ...
    def cuEventRecord(self, hEvent: Any, hStream: Any) -> tuple[Any]: ...
    def cuEventQuery(self, hEvent: Any) -> tuple[Any]: ...
    def cuEventSynchronize(self, hEvent: Any) -> tuple[Any]: ...
    def cuEventElapsedTime(self, hStart: Any, hEnd: Any) -> tuple[Any, Any]: ...

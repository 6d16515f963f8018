"""One GPU in use by this process, and what can be read of all GPUs without using them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from uuid import UUID

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.driver import Driver, memory_reader
from aquahost_cuda.nvml import open_nvml

_NAME_BYTES = 256


class Device:
    """A GPU whose primary context this process holds; the context that torch uses too.

    Make one with `open`. `close` gives the context up: first close what was made on the GPU (arenas, buffers, copy
    engines), since the context's streams, events and plain allocations go with it.
    """

    def __init__(self, driver: Driver, index: int, handle: Any, context: Any) -> None:
        """Take over a context of the CUdevice `handle` that is retained already; use `open`."""
        self.driver = driver
        self.index = index
        self.uuid = _uuid(driver, handle)
        """As nvidia-smi writes it: GPU-8c5a…"""
        self.name = _name(driver, handle)
        self.total_bytes = int(call(driver.cuDeviceTotalMem, handle))
        self._handle = handle
        self._context = context
        self._open = True

    @classmethod
    def open(cls, driver: Driver, index: int) -> Device:
        """Retain GPU `index`'s primary context and make it current in this thread.

        Raises DriverError; what was current before then is so again.
        """
        handle = call(driver.cuDeviceGet, index)
        before = call(driver.cuCtxGetCurrent)
        context = call(driver.cuDevicePrimaryCtxRetain, handle)
        try:
            call(driver.cuCtxSetCurrent, context)
            return cls(driver, index, handle, context)
        except BaseException:
            # Before the release, which "does not pop the context from stack in any circumstances".
            driver.cuCtxSetCurrent(before)
            driver.cuDevicePrimaryCtxRelease(handle)
            raise

    def activate(self) -> None:
        """Make the GPU current in the calling thread; each thread that calls the driver needs it once."""
        call(self.driver.cuCtxSetCurrent, self._context)

    def memory_info(self) -> tuple[int, int]:
        """(free, total) bytes, all processes counted. Makes the GPU current in the calling thread."""
        self.activate()
        free_bytes, total_bytes = call(self.driver.cuMemGetInfo)
        return int(free_bytes), int(total_bytes)

    def close(self) -> None:
        """Give the context up; more than once is harmless."""
        if not self._open:
            return
        self._open = False
        # A release "does not pop the context from stack in any circumstances" (cuDevicePrimaryCtxRelease): without
        # this the thread would keep a context that is gone.
        current = self.driver.cuCtxGetCurrent()
        if current[0] == 0 and int(current[1]) == int(self._context):
            call(self.driver.cuCtxSetCurrent, 0)
        call(self.driver.cuDevicePrimaryCtxRelease, self._handle)

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_uuid(driver: Driver, index: int) -> str:
    """A GPU's identity, as nvidia-smi writes it. Raises DriverError."""
    return _uuid(driver, call(driver.cuDeviceGet, index))


def read_identity(driver: Driver, index: int) -> tuple[str, str, int]:
    """A GPU's UUID, name and bytes of memory; needs no context. Raises DriverError."""
    handle = call(driver.cuDeviceGet, index)
    return _uuid(driver, handle), _name(driver, handle), int(call(driver.cuDeviceTotalMem, handle))


def _uuid(driver: Driver, handle: Any) -> str:
    return f"GPU-{UUID(bytes=bytes(call(driver.cuDeviceGetUuid, handle).bytes))}"


def _name(driver: Driver, handle: Any) -> str:
    buffer: bytes = call(driver.cuDeviceGetName, _NAME_BYTES, handle)
    return buffer.split(b"\0", 1)[0].decode(errors="replace").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU at one instant."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    """0 where the GPU is lost. Where it could not be read for another reason, what it was when it last could; 0 if
    it never could."""
    lost: str | None = None
    """Why the GPU is gone, such as that it has fallen off the bus; None if it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gpu:
    """What of a GPU never changes."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    managed: Any
    """NVML's handle, or None where NVML does not know it."""


class GpuMonitor:
    """Reads all GPUs again and again, from any thread but from one at a time.

    Needs no context on the emulated driver, nor on a GPU that NVML knows. On any other the first reading retains the
    primary context, some hundred MB of that GPU, and `close` gives it up: to make and destroy one takes a good part
    of a second, too much for each reading.
    """

    def __init__(self, driver: Driver) -> None:
        """Find the GPUs. Raises DriverError."""
        self._driver = driver
        self._read_memory = memory_reader(driver)
        self._nvml = None if self._read_memory else open_nvml()
        self._held: dict[int, Device] = {}
        self._last_free_bytes: dict[int, int] = {}
        try:
            self._gpus = [self._find(index) for index in range(int(call(driver.cuDeviceGetCount)))]
        except BaseException:
            self.close()
            raise

    def read(self) -> list[GpuReading]:
        """A reading of each GPU, by index. Leaves the calling thread's GPU as it was.

        One that can't be read does not keep the others from being read. It is told as lost only where the error says
        so (DriverError.means_loss); after any other its free memory is taken to be what it was before.
        """
        return [self._reading(gpu) for gpu in self._gpus]

    def close(self) -> None:
        """Let NVML and contexts go; more than once is harmless."""
        if self._nvml is not None:
            self._nvml.close()
        if not self._held:
            return
        # A device's close leaves no GPU current, but the thread may use the same GPU through a hold of its own.
        with _restored_context(self._driver):
            while self._held:
                self._held.popitem()[1].close()

    def _find(self, index: int) -> _Gpu:
        uuid, name, total_bytes = read_identity(self._driver, index)
        return _Gpu(
            index=index,
            uuid=uuid,
            name=name,
            total_bytes=total_bytes,
            managed=self._nvml.find(uuid) if self._nvml else None,
        )

    def _reading(self, gpu: _Gpu) -> GpuReading:
        lost = None
        try:
            self._last_free_bytes[gpu.index] = self._free_bytes(gpu)
        except DriverError as error:
            if error.means_loss:
                lost = str(error)
        return GpuReading(
            index=gpu.index,
            uuid=gpu.uuid,
            name=gpu.name,
            total_bytes=gpu.total_bytes,
            free_bytes=0 if lost is not None else self._last_free_bytes.get(gpu.index, 0),
            lost=lost,
        )

    def _free_bytes(self, gpu: _Gpu) -> int:
        if self._read_memory is not None:
            return self._read_memory(gpu.index)[0]
        if self._nvml is not None and gpu.managed is not None:
            return self._nvml.free_bytes(gpu.managed)
        with _restored_context(self._driver):
            if gpu.index not in self._held:
                self._held[gpu.index] = Device.open(self._driver, gpu.index)
            return self._held[gpu.index].memory_info()[0]


def read_gpus(driver: Driver) -> list[GpuReading]:
    """One reading of each GPU. Raises DriverError if they can't be found. To read often, keep a GpuMonitor."""
    monitor = GpuMonitor(driver)
    try:
        return monitor.read()
    finally:
        monitor.close()


@contextlib.contextmanager
def _restored_context(driver: Driver) -> Iterator[None]:
    """Whatever becomes current within, afterwards what was current before is so again, also after an error."""
    before = call(driver.cuCtxGetCurrent)
    try:
        yield
    finally:
        call(driver.cuCtxSetCurrent, before)

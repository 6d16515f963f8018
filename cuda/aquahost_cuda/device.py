"""One GPU in use by this process, and what can be read of all GPUs without using them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any
from uuid import UUID

from aquahost_cuda.check import call
from aquahost_cuda.driver import Driver, EmulatedDriver

_NAME_BYTES = 256


class Device:
    """A GPU whose primary context this process holds; the context that torch uses too.

    Make one with `open`. `close` gives the context up: first close what was made on the GPU (arenas, buffers, copy
    engines), since the context's streams, events and plain allocations go with it.
    """

    def __init__(self, driver: Driver, index: int, context: Any) -> None:
        """Take over a context that is retained already; use `open`."""
        self.driver = driver
        self.index = index
        self.uuid = read_uuid(driver, index)
        """As nvidia-smi writes it: GPU-8c5a…"""
        self.name = read_name(driver, index)
        self.total_bytes = int(call(driver.cuDeviceTotalMem, index))
        self._context = context
        self._open = True

    @classmethod
    def open(cls, driver: Driver, index: int) -> Device:
        """Retain GPU `index`'s primary context and make it current in this thread. Raises DriverError."""
        context = call(driver.cuDevicePrimaryCtxRetain, call(driver.cuDeviceGet, index))
        try:
            call(driver.cuCtxSetCurrent, context)
            return cls(driver, index, context)
        except BaseException:
            driver.cuDevicePrimaryCtxRelease(index)
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
        call(self.driver.cuDevicePrimaryCtxRelease, self.index)

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """A GPU at one instant."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int


class GpuMonitor:
    """Reads all GPUs again and again. Needs no context where NVML answers, or on the emulated driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._gpus = [
            (index, read_uuid(driver, index), read_name(driver, index), int(call(driver.cuDeviceTotalMem, index)))
            for index in range(int(call(driver.cuDeviceGetCount)))
        ]
        self._nvml = None if isinstance(driver, EmulatedDriver) else _open_nvml()

    def read(self) -> list[GpuReading]:
        """A reading of each GPU, by index. Raises DriverError."""
        return [
            GpuReading(
                index=index, uuid=uuid, name=name, total_bytes=total_bytes, free_bytes=self._free_bytes(index, uuid)
            )
            for index, uuid, name, total_bytes in self._gpus
        ]

    def close(self) -> None:
        """Let NVML go; more than once is harmless."""
        if self._nvml is not None:
            self._nvml.shutdown()
            self._nvml = None

    def _free_bytes(self, index: int, uuid: str) -> int:
        if isinstance(self._driver, EmulatedDriver):
            return self._driver.memory_of(index)[0]
        if self._nvml is not None:
            # CUDA numbers the visible GPUs, NVML all of them: only the UUID means the same to both. A MIG instance
            # has a UUID of another form, which NVML won't find here.
            with contextlib.suppress(self._nvml.NvmlError):
                handle = self._nvml.device_get_handle_by_uuid(uuid)
                return int(self._nvml.device_get_memory_info_v2(handle).free)
        with _borrowed_context(self._driver, index):
            return int(call(self._driver.cuMemGetInfo)[0])


def read_gpus(driver: Driver) -> list[GpuReading]:
    """One reading of each GPU. Raises DriverError. To read often, keep a GpuMonitor."""
    monitor = GpuMonitor(driver)
    try:
        return monitor.read()
    finally:
        monitor.close()


def read_uuid(driver: Driver, index: int) -> str:
    """A GPU's identity, as nvidia-smi writes it."""
    return f"GPU-{UUID(bytes=bytes(call(driver.cuDeviceGetUuid, index).bytes))}"


def read_name(driver: Driver, index: int) -> str:
    """What the GPU is called."""
    buffer: bytes = call(driver.cuDeviceGetName, _NAME_BYTES, index)
    return buffer.split(b"\0", 1)[0].decode(errors="replace").strip()


def _open_nvml() -> ModuleType | None:
    """NVIDIA's management library, or None where the bindings or the driver lack it."""
    try:
        from cuda.bindings import nvml
    except ImportError:
        return None
    try:
        nvml.init_v2()
    except (nvml.NvmlError, RuntimeError, OSError):
        return None
    module: ModuleType = nvml
    return module


@contextlib.contextmanager
def _borrowed_context(driver: Driver, index: int) -> Iterator[None]:
    """The GPU current in this thread, and afterwards what was current before."""
    before = call(driver.cuCtxGetCurrent)
    with Device.open(driver, index):
        yield
    call(driver.cuCtxSetCurrent, before)

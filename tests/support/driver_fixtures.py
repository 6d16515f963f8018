"""What device-layer tests share: drivers of either kind, memory made in one line, and streams held on purpose."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pytest

from aquahost_cuda.check import call
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver, EmulatedDriver, EmulatedNode, PartitionedDriver, driver_name, load
from aquahost_cuda.emulated.state import Live
from aquahost_cuda.vmm import Location, grant, map_memory, reserve, unmap_memory, unreserve

MIB = 1 << 20
PAGE = 2 * MIB
"""Granularity of the emulated driver; contract tests ask instead."""
DRIVERS = (
    "emulated",
    "emulated in parts",
    pytest.param("cuda", marks=pytest.mark.gpu),
    pytest.param("cuda in parts", marks=pytest.mark.gpu),
)
SHARED_SLACK_BYTES = 512 * MIB
"""What other processes may take or free on a real GPU within a test."""
NOTHING = Live(contexts=0, streams=0, events=0, reservations=0, regions=0, handles=0)
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def small_node(path: Path, **changes: Any) -> EmulatedNode:
    """Four GPUs of 64 MiB with links too fast to wait for."""
    fields: dict[str, Any] = {
        "gpus": 4,
        "gpu_bytes": 64 * MIB,
        "peer_bytes_per_s": 1e12,
        "peer_latency_s": 0.0,
        "host_bytes_per_s": 1e12,
        "host_latency_s": 0.0,
    }
    return EmulatedNode(path=str(path), **(fields | changes))


@contextmanager
def emulated(path: Path, **changes: Any) -> Iterator[EmulatedDriver]:
    """An emulated driver, initialised. Afterwards nothing may be left of what was made with it."""
    driver = EmulatedDriver(small_node(path, **changes))
    driver.cuInit(0)
    try:
        yield driver
        assert driver.live() == NOTHING
        assert [driver.memory_of(gpu)[0] for gpu in range(driver.node.gpus)] == [driver.node.gpu_bytes] * (
            driver.node.gpus
        )
    finally:
        driver.close()


@contextmanager
def any_driver(kind: str, path: Path) -> Iterator[Driver]:
    """The emulated driver or the machine's own, as it is or with each GPU in four parts."""
    if kind == "emulated":
        with emulated(path) as driver:
            yield driver
    elif kind == "emulated in parts":
        with emulated(path, gpus=1, gpu_bytes=256 * MIB) as whole, in_parts(whole, path) as driver:
            yield driver
    elif kind == "cuda in parts":
        with in_parts(load("cuda"), path) as driver:
            yield driver
    else:
        yield load("cuda")


@contextmanager
def in_parts(whole: Driver, path: Path, parts: int = 4) -> Iterator[Driver]:
    """A driver with each GPU shown as several. Afterwards nothing may be charged any more."""
    driver = PartitionedDriver(whole, parts, str(path / "parts"))
    try:
        yield cast("Driver", driver)
        readings = [driver.memory_of(gpu) for gpu in range(call(driver.cuDeviceGetCount))]
        assert all(free_bytes == total_bytes for free_bytes, total_bytes in readings), readings
    finally:
        driver.close()


def about(driver: Driver, nbytes: int) -> Any:
    """Equal to a difference of free bytes: exactly on the emulated driver, nearly on a GPU that others may use too."""
    if driver_name(driver) == "emulated":
        return nbytes
    return pytest.approx(nbytes, rel=0, abs=SHARED_SLACK_BYTES)


@contextmanager
def mapped(driver: Driver, nbytes: int, lies: Location, *accessors: Location) -> Iterator[int]:
    """Address of fresh memory at `lies` that `accessors` may use."""
    address = reserve(driver, nbytes)
    map_memory(driver, address, nbytes, lies)
    if accessors:
        grant(driver, address, nbytes, accessors)
    try:
        yield address
    finally:
        unmap_memory(driver, address, nbytes)
        unreserve(driver, address, nbytes)


@contextmanager
def new_stream(driver: Driver) -> Iterator[int]:
    """A non-blocking stream of the current context."""
    stream = call(driver.cuStreamCreate, 1)
    try:
        yield int(stream)
    finally:
        call(driver.cuStreamDestroy, stream)


@contextmanager
def new_event(driver: Driver, flags: int = 0) -> Iterator[int]:
    """An event of the current context."""
    event = call(driver.cuEventCreate, flags)
    try:
        yield int(event)
    finally:
        call(driver.cuEventDestroy, event)


def write(driver: Driver, address: int, content: bytes, stream: int) -> None:
    """Put bytes into device memory."""
    source = ctypes.create_string_buffer(content, len(content))
    call(driver.cuMemcpyAsync, address, ctypes.addressof(source), len(content), stream)
    call(driver.cuStreamSynchronize, stream)


def read(driver: Driver, address: int, nbytes: int, stream: int) -> bytes:
    """Bytes of device memory, after all work of `stream` so far."""
    target = ctypes.create_string_buffer(nbytes)
    call(driver.cuMemcpyAsync, ctypes.addressof(target), address, nbytes, stream)
    call(driver.cuStreamSynchronize, stream)
    return target.raw


def name_of(answer: tuple[Any, ...]) -> str:
    """The result code's name in what a call answered."""
    return str(answer[0].name)


class HeldStream:
    """Keeps a stream busy until the block ends or `release` is called, so that tests need not race with it."""

    def __init__(self, driver: Driver, stream: int) -> None:
        self._released = threading.Event()
        self._function = _HOST_FUNCTION(self._wait)
        address = ctypes.cast(self._function, ctypes.c_void_p).value
        call(driver.cuLaunchHostFunc, stream, address, 0)
        self._driver, self._stream = driver, stream

    def _wait(self, _: Any) -> None:
        self._released.wait(30)

    def release(self) -> None:
        """Let the stream go on."""
        self._released.set()

    def __enter__(self) -> HeldStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._driver.cuStreamSynchronize(self._stream)  # the callback must outlive its use


@contextmanager
def opened(driver: Driver, index: int = 0) -> Iterator[Device]:
    """A device, current in this thread."""
    with Device.open(driver, index) as device:
        yield device

"""Whether bytes that a GPU writes somewhere are the bytes it reads back, and how fast they get there."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import (
    Buffer,
    Location,
    grant,
    granularity,
    host_node,
    map_memory,
    reserve,
    round_up,
    unmap_memory,
    unreserve,
)

_PATTERN_BYTES = 1 << 20
_SHIFT_BYTES = 4096
_SHIFTS = 64
_MOST_BYTES = 32 << 20
_FIRST_BYTES = 64 << 10
_GROWTH = 8
_LONG_ENOUGH_S = 0.5e-3  # far above what starting a copy takes
_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTest:
    """What a GPU found when it wrote to some place and read from there."""

    problem: str | None = None
    """What was wrong; None if all bytes came back."""
    write_bytes_per_s: float = 0.0
    read_bytes_per_s: float = 0.0
    transient: bool = False
    """The problem may be gone another time: a call failed, as for want of memory."""


class LinkTester:
    """A GPU with what it needs to test its links: a context, copy streams, a pattern and room for copies."""

    def __init__(self, device: Device) -> None:
        """Allocate. Raises DriverError; `device` stays its opener's."""
        self._driver = driver = device.driver
        self._here = Location.device(device.index)
        self._host_node = host_node(driver, device.index)
        self._stack = ExitStack()
        self._tests = 0
        self._pattern = random.Random(device.index).randbytes(_PATTERN_BYTES + _SHIFTS * _SHIFT_BYTES)
        try:
            self._engine = self._stack.enter_context(CopyEngine(driver, device))
            self._source = self._stack.enter_context(Buffer(driver, device.index, len(self._pattern))).address
            room = min(_MOST_BYTES, max(device.total_bytes // 16, _PATTERN_BYTES))
            self._room = self._stack.enter_context(Buffer(driver, device.index, room))
            content = ctypes.create_string_buffer(self._pattern, len(self._pattern))
            self._copy(self._source, ctypes.addressof(content), len(self._pattern))
        except BaseException:
            self.close()
            raise

    def test(self, place: Location) -> LinkTest:
        """Write to new memory at `place`, read it back and compare all bytes; if they are right, measure.

        No context is made at `place`: memory there is mapped with access for this GPU alone. Raises DriverError.
        """
        driver = self._driver
        place = place.near(self._host_node)
        nbytes = round_up(self._room.nbytes, granularity(driver, self._here, place))
        with ExitStack() as undo:
            far = reserve(driver, nbytes)
            undo.callback(unreserve, driver, far, nbytes)
            map_memory(driver, far, nbytes, place)
            undo.callback(unmap_memory, driver, far, nbytes)
            grant(driver, far, nbytes, [self._here])
            if not self._comes_back(far):
                return LinkTest(problem="bytes arrive corrupted")
            return LinkTest(
                write_bytes_per_s=self._rate(far, self._room.address),
                read_bytes_per_s=self._rate(self._room.address, far),
            )

    def close(self) -> None:
        """Give everything back but the device. Raises DriverError."""
        self._stack.close()

    def _comes_back(self, far: int) -> bool:
        """Whether a pattern written to `far` is read back, every byte of it."""
        # Another pattern each time, so that what an earlier test left in the same memory never looks right.
        at = self._tests % _SHIFTS * _SHIFT_BYTES
        self._tests += 1
        near, stream = self._room.address, self._engine.stream(Direction.OUT)
        self._copy(far, self._source + at, _PATTERN_BYTES)
        call(self._driver.cuMemsetD8Async, near, 0, _PATTERN_BYTES, stream)
        # In two unequal pieces: what goes wrong by position must not undo itself on the way back.
        first = _PATTERN_BYTES // 3
        self._copy(near, far, first)
        self._copy(near + first, far + first, _PATTERN_BYTES - first)
        found = ctypes.create_string_buffer(_PATTERN_BYTES)
        self._copy(ctypes.addressof(found), near, _PATTERN_BYTES)
        return found.raw == self._pattern[at : at + _PATTERN_BYTES]

    def _copy(self, dst: int, src: int, nbytes: int) -> None:
        stream = self._engine.stream(Direction.OUT)
        call(self._driver.cuMemcpyAsync, dst, src, nbytes, stream)
        # Pageable host memory may be read after the call returns (cuMemcpyAsync): not after this.
        call(self._driver.cuStreamSynchronize, stream)

    def _rate(self, dst: int, src: int) -> float:
        """Bytes per second, without what it takes to start a copy: from two sizes, the larger as the link allows."""
        small = nbytes = _FIRST_BYTES
        self._took_s(dst, src, small)  # a first touch costs more
        # The fastest sample tells how long such a copy takes if nothing else is in its way.
        samples_s = [self._took_s(dst, src, small) for _ in range(_SAMPLES)]
        small_s = min(samples_s)
        while min(samples_s) < _LONG_ENOUGH_S and nbytes * _GROWTH <= self._room.nbytes:
            nbytes *= _GROWTH
            samples_s = [self._took_s(dst, src, nbytes)]
            if samples_s[0] >= _LONG_ENOUGH_S or nbytes * _GROWTH > self._room.nbytes:
                samples_s += [self._took_s(dst, src, nbytes) for _ in range(_SAMPLES - 1)]
        large_s = min(samples_s)
        return (nbytes - small) / (large_s - small_s) if nbytes > small and large_s > small_s else nbytes / large_s

    def _took_s(self, dst: int, src: int, nbytes: int) -> float:
        transfer = self._engine.copy(Direction.OUT, [Copy(dst, src, nbytes)])
        transfer.wait()
        return max(transfer.duration_s, 1e-9)


def probe_links(driver: Driver, gpu: int, places: Iterable[Location]) -> dict[Location, LinkTest]:
    """What GPU `gpu` finds at each of these places. One that fails keeps no other from being tested, and a GPU that
    can't be used for the moment, as for want of memory, fails at all of them.

    Raises DriverError if the GPU is lost. Leaves no context of it.
    """
    found: dict[Location, LinkTest] = {}
    with _DeviceForTests(driver, gpu) as tests:
        for place in places:
            found[place] = tests.test(place)
    return found


class _DeviceForTests:
    """A tester that is made anew after an error, since errors may stick to a context."""

    def __init__(self, driver: Driver, gpu: int) -> None:
        self._driver, self._gpu = driver, gpu
        self._device: Device | None = None
        self._tester: LinkTester | None = None

    def test(self, place: Location) -> LinkTest:
        """What the tester at hand, or a new one, finds; a failed call is a transient problem.

        Raises DriverError if the GPU is lost.
        """
        try:
            return self._made().test(place)
        except DriverError as error:
            self._close()
            self._demand_gpu()
            return LinkTest(problem=f"the test failed: {error}", transient=True)

    def _made(self) -> LinkTester:
        if self._device is None:
            self._device = Device.open(self._driver, self._gpu)
        if self._tester is None:
            self._device.activate()
            self._tester = LinkTester(self._device)
        return self._tester

    def _demand_gpu(self) -> None:
        """Open the GPU anew: what a test was answered may be about the place, what this is answered is not."""
        try:
            self._device = Device.open(self._driver, self._gpu)
        except DriverError as error:
            if error.means_loss:
                raise

    def __enter__(self) -> _DeviceForTests:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        # A context that has failed answers errors here too.
        if self._tester is not None:
            with suppress(DriverError):
                self._tester.close()
        self._tester = None
        if self._device is not None:
            with suppress(DriverError):
                self._device.close()
        self._device = None

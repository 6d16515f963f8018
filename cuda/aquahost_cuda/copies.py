"""Asynchronous copies on streams of their own, one for each direction, so that they overlap with the GPU's work."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import Enum
from operator import attrgetter
from types import TracebackType
from typing import Any, NamedTuple

from aquahost_cuda.check import DriverError, call, is_done
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Location, granularity


class Direction(Enum):
    """Which way a batch goes; each way has its own stream."""

    OUT = "out"
    """From this GPU, to page out."""
    IN = "in"
    """To this GPU, to page in."""


class Copy(NamedTuple):
    """Bytes to move. Ranges of one batch must not overlap: it has no order within."""

    dst: int
    src: int
    nbytes: int


class Transfer:
    """One batch under way. The memory it reads and writes must stay as it is until it is done.

    It may be dropped before that: the copies go on, and its events go back to the engine. Of no use once the engine is
    closed.
    """

    def __init__(self, engine: CopyEngine, nbytes: int, start: Any, end: Any) -> None:
        """Made by CopyEngine alone."""
        self._engine = engine
        self.nbytes = nbytes
        """Bytes of all its copies together."""
        self._start = start
        self._end = end
        self._duration_s: float | None = None

    def done(self) -> bool:
        """Whether all bytes have arrived. Raises DriverError if the transfer failed."""
        if self._duration_s is None and is_done(self._engine.driver.cuEventQuery, self._end):
            self._finish()
        return self._duration_s is not None

    def wait(self) -> None:
        """Block this thread until all bytes have arrived. Raises DriverError if the transfer failed."""
        if self._duration_s is None:
            call(self._engine.driver.cuEventSynchronize, self._end)
            self._finish()

    def hold(self, stream: int) -> None:
        """Make later work of another stream (torch's `cuda_stream`) wait for the bytes; this thread goes on."""
        if self._duration_s is None:
            call(self._engine.driver.cuStreamWaitEvent, stream, self._end, 0)

    @property
    def duration_s(self) -> float:
        """Seconds from start to arrival, waiting for a busy link included. Raises ValueError while under way."""
        if self._duration_s is None:
            raise ValueError("the transfer is under way; wait() for it first")
        return self._duration_s

    def __del__(self) -> None:
        if self._duration_s is None:
            self._engine.take_back(self._start, self._end)

    def _finish(self) -> None:
        self._duration_s = self._engine.elapsed_s(self._start, self._end)
        self._engine.take_back(self._start, self._end)


class CopyEngine:
    """Two non-blocking streams of one GPU, and a pool of events. Not safe for threads; make the GPU current first.

    The legacy default stream, which is torch's, is never used: it would order every copy with all other work.
    """

    def __init__(self, driver: Driver, device: Device) -> None:
        """Make the streams. Raises DriverError."""
        self.driver = driver
        self._idle_events: list[Any] = []
        self._all_events: list[Any] = []
        self._streams: dict[Direction, Any] = {}
        self._has_batches = True
        device.activate()
        self._granule_bytes = _smallest_granule(driver, device.index)
        try:
            for direction in Direction:
                flags = int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
                self._streams[direction] = call(driver.cuStreamCreate, flags)
        except BaseException:
            self.close()
            raise

    def stream(self, direction: Direction) -> int:
        """The stream's handle, for whoever wants to order work with it."""
        return int(self._streams[direction])

    def copy(self, direction: Direction, copies: Sequence[Copy], *, after: int | None = None) -> Transfer:
        """Start copying; returns at once.

        `after` is a stream (torch's `cuda_stream`) whose work so far must be done first, such as the step that wrote
        the source. Both sides must be accessible to this GPU and lie in mappings (Buffer, Arena, vmm.map_memory):
        copies that continue each other are joined, but never where one mapping may end and another begin.

        Raises DriverError; some of the copies may be under way then, so `synchronize` before their memory is freed.
        """
        driver, stream = self.driver, self._streams[direction]
        merged = merge_adjacent(copies, self._granule_bytes)
        # What the host has to prepare comes before the start event: an idle stream passes that at once.
        batch = self._batch(merged) if self._has_batches and len(merged) > 1 else None
        if after is not None:
            self._wait_for(stream, after)
        start, end = self._take_event(), self._take_event()
        try:
            call(driver.cuEventRecord, start, stream)
            if batch is None or not self._submit_batch(batch, stream):
                for one in merged:
                    call(driver.cuMemcpyAsync, one.dst, one.src, one.nbytes, stream)
            call(driver.cuEventRecord, end, stream)
        except BaseException:
            self._idle_events += (start, end)
            raise
        return Transfer(self, sum(one.nbytes for one in merged), start, end)

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Seconds between two events that have happened. For Transfer alone."""
        return float(call(self.driver.cuEventElapsedTime, start, end)) / 1e3

    def take_back(self, start: Any, end: Any) -> None:
        """Put events that nobody will ask for again into the pool, happened or not. For Transfer alone.

        They may be recorded anew at once: that "will overwrite the previously captured state" (cuEventRecord), and
        whoever waits for them already is "not affected".
        """
        self._idle_events += (start, end)

    def synchronize(self) -> None:
        """Block until every copy started so far has arrived. Raises DriverError if one failed."""
        for stream in self._streams.values():
            call(self.driver.cuStreamSynchronize, stream)

    def close(self) -> None:
        """Wait for copies under way, then give streams and events back; more than once is harmless."""
        streams, events = list(self._streams.values()), self._all_events
        self._streams, self._all_events, self._idle_events = {}, [], []
        # A failed context answers errors here; what can be given back still must be, so nothing is checked. Waiting
        # first keeps memory from being freed under a running copy: cuStreamDestroy "will return immediately".
        for stream in streams:
            self.driver.cuStreamSynchronize(stream)
        for event in events:
            self.driver.cuEventDestroy(event)
        for stream in streams:
            self.driver.cuStreamDestroy(stream)

    def __enter__(self) -> CopyEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for(self, stream: Any, other: int) -> None:
        event = self._take_event()
        try:
            call(self.driver.cuEventRecord, event, other)
            call(self.driver.cuStreamWaitEvent, stream, event, 0)
        finally:
            # A wait keeps the state it saw: "not affected by later calls to cuEventRecord()". So the event is free.
            self._idle_events.append(event)

    def _batch(self, copies: Sequence[Copy]) -> tuple[Any, ...]:
        """What cuMemcpyBatchAsync takes, but for the stream; the same in the bindings of CUDA 12 and 13."""
        driver = self.driver
        attributes = driver.CUmemcpyAttributes()
        attributes.srcAccessOrder = driver.CUmemcpySrcAccessOrder.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
        attributes.flags = int(driver.CUmemcpyFlags.CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE)
        targets = [driver.CUdeviceptr(one.dst) for one in copies]
        sources = [driver.CUdeviceptr(one.src) for one in copies]
        return targets, sources, [one.nbytes for one in copies], len(copies), [attributes], [0], 1

    def _submit_batch(self, batch: tuple[Any, ...], stream: Any) -> bool:
        """Submit all copies in one call; False, for good, if there is no such call here, and nothing is submitted."""
        try:
            # Bindings of CUDA 12 answer (status, index of the copy that failed), those of CUDA 13 (status,): `call`
            # takes either.
            call(self.driver.cuMemcpyBatchAsync, *batch, stream)
        except RuntimeError:
            # How the bindings say that libcuda lacks a function. It came with CUDA 12.8, in its present form with
            # 13.0, and bindings of either may run over an older driver.
            self._has_batches = False
        except DriverError as error:
            if error.name != "CUDA_ERROR_NOT_SUPPORTED":  # as virtual GPUs may answer
                raise
            self._has_batches = False
        return self._has_batches

    def _take_event(self) -> Any:
        if self._idle_events:
            return self._idle_events.pop()
        event = call(self.driver.cuEventCreate, int(self.driver.CUevent_flags.CU_EVENT_BLOCKING_SYNC))
        self._all_events.append(event)
        return event


def merge_adjacent(copies: Sequence[Copy], granule_bytes: int) -> list[Copy]:
    """The same copies with empty ones left out and neighbours on both sides joined, by ascending target.

    Neighbours that meet at a multiple of `granule_bytes`, on either side, stay apart. Mappings begin at such multiples
    alone (cuMemMap), so what is joined lies in one mapping on both sides: nothing in CUDA's documentation promises that
    one copy may span two, which may even lie on different GPUs.
    """
    merged: list[Copy] = []
    for one in sorted(copies, key=attrgetter("dst")):
        if not one.nbytes:
            continue
        last = merged[-1] if merged else None
        if last is not None and _continues(last, one, granule_bytes):
            merged[-1] = Copy(last.dst, last.src, last.nbytes + one.nbytes)
        else:
            merged.append(one)
    return merged


def _continues(last: Copy, one: Copy, granule_bytes: int) -> bool:
    adjacent = (last.dst + last.nbytes, last.src + last.nbytes) == (one.dst, one.src)
    return adjacent and one.dst % granule_bytes != 0 and one.src % granule_bytes != 0


def _smallest_granule(driver: Driver, device_index: int) -> int:
    """What every mapping that this GPU may reach begins at a multiple of; the GPUs of a node are taken to be alike."""
    sizes = [granularity(driver, Location.device(device_index))]
    # A driver without VMM for host memory refuses to say, and has no such mappings.
    with contextlib.suppress(DriverError):
        sizes.append(granularity(driver, Location.host()))
    return min(sizes)

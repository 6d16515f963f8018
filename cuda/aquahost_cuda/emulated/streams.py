"""Streams as threads, the markers that order them, and contexts, which remember the first thing that went wrong."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from aquahost_cuda.emulated.host_memory import HostMemory
from aquahost_cuda.emulated.refusal import Refused
from aquahost_cuda.emulated.types import CUresult

Operation = Callable[[], None]
"""One piece of a stream's work; raises Refused to fail its context."""


class Marker:
    """A point in a stream that is reached when all work submitted before it is done."""

    __slots__ = ("_reached", "at_s")

    def __init__(self) -> None:
        self._reached = threading.Event()
        self.at_s = 0.0
        """When it was reached, on the monotonic clock."""

    def reach(self) -> None:
        """The stream has come here."""
        self.at_s = time.monotonic()
        self._reached.set()

    def is_reached(self) -> bool:
        """Whether the stream has come here."""
        return self._reached.is_set()

    def wait(self) -> None:
        """Block until the stream has come here."""
        self._reached.wait()


class Context:
    """A GPU's primary context in this process. An error in one of its streams fails every later call in it."""

    def __init__(self, gpu: int, handle: int) -> None:
        self.gpu = gpu
        self.handle = handle
        self.retained = 0
        self.error: CUresult | None = None
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.default_stream = DefaultStream(self)

    def fail(self, code: CUresult) -> None:
        """Remember the first error."""
        if self.error is None:
            self.error = code

    def run(self, operation: Operation) -> None:
        """Carry `operation` out, unless the context has failed."""
        if self.error is not None:
            return
        try:
            operation()
        except Refused as refusal:
            self.fail(refusal.code)


class Event:
    """The marker recorded last, if any."""

    def __init__(self, context: Context, timed: bool) -> None:
        self.context = context
        self.timed = timed
        self.marker: Marker | None = None


class Stream:
    """Work done in the order it was submitted, on a thread of its own that starts with the first of it."""

    def __init__(self, context: Context, memory: HostMemory, *, blocking: bool) -> None:
        self.context = context
        self.blocking = blocking
        """Ordered with the legacy default stream."""
        self._memory = memory
        self._queue: deque[Operation] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def is_idle(self) -> bool:
        """Whether all work submitted so far is done."""
        with self._changed:
            return not self._queue

    def submit(self, operation: Operation) -> None:
        """Carry `operation` out after what was submitted before. Markers are reached even in a failed context."""
        self._enqueue(lambda: self.context.run(operation))

    def mark(self) -> Marker:
        """A marker after all work submitted so far; reached already if the stream is idle."""
        marker = Marker()
        if self.is_idle():
            marker.reach()
        else:
            self._enqueue(marker.reach)
        return marker

    def wait_for(self, marker: Marker) -> None:
        """Hold work submitted from now on until `marker` is reached."""
        if not marker.is_reached():
            self._enqueue(marker.wait)

    def close(self) -> None:
        """Take no more work; the thread ends once it has done what it has."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def is_over(self) -> bool:
        """Whether no thread works for it."""
        return self._thread is None or not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the thread's end, after `close`."""
        if self._thread is not None:
            self._thread.join()

    def _enqueue(self, operation: Operation) -> None:
        with self._changed:
            self._queue.append(operation)
            if self._thread is None:
                name = f"emulated-gpu{self.context.gpu}-stream"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        self._memory.sharpen_sleep()
        while True:
            with self._changed:
                while not self._queue:
                    if self._closing:
                        return
                    self._changed.wait()
                operation = self._queue[0]
            operation()
            with self._changed:
                self._queue.popleft()


class DefaultStream:
    """The legacy NULL stream: waits for all blocking streams of its context. Its work is done when a call returns."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def is_idle(self) -> bool:
        """Always: no call leaves work behind."""
        return True

    def submit(self, operation: Operation) -> None:
        """Wait for the blocking streams and carry `operation` out."""
        self._settle()
        self.context.run(operation)

    def mark(self) -> Marker:
        """A marker after all work of the blocking streams."""
        self._settle()
        marker = Marker()
        marker.reach()
        return marker

    def wait_for(self, marker: Marker) -> None:
        """Wait at once."""
        marker.wait()

    def _settle(self) -> None:
        for stream in list(self.context.streams.values()):
            if stream.blocking:
                stream.mark().wait()


def sleep_until(deadline_s: float) -> None:
    """Sleep until a time of the monotonic clock."""
    while (left_s := deadline_s - time.monotonic()) > 0:
        time.sleep(left_s)

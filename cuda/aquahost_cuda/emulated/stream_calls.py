"""Calls about streams and events."""

from __future__ import annotations

import ctypes
from typing import Any

from aquahost_cuda.emulated.refusal import Refused, answers_nothing, answers_value, require
from aquahost_cuda.emulated.state import State, number
from aquahost_cuda.emulated.streams import Event, Stream
from aquahost_cuda.emulated.types import CUevent, CUevent_flags, CUresult, CUstream, CUstream_flags

_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class StreamCalls:
    """Part of the emulated driver."""

    def __init__(self, state: State) -> None:
        self._state = state

    @answers_value
    def cuStreamCreate(self, Flags: int) -> CUstream:
        """A stream of the current context."""
        state, context = self._state, self._state.context()
        require(Flags in set(CUstream_flags))
        with state.mutex:
            handle = state.new_handle()
            blocking = Flags == CUstream_flags.CU_STREAM_DEFAULT
            context.streams[handle] = Stream(context, state.memory, blocking=blocking)
        return CUstream(handle)

    @answers_nothing
    def cuStreamDestroy(self, hStream: Any) -> None:
        """Forget a stream; work it still has is done nevertheless."""
        with self._state.mutex:
            handle = number(hStream)
            self._state.dismiss(self._state.owner_of_stream(handle).streams.pop(handle))

    @answers_nothing
    def cuStreamQuery(self, hStream: Any) -> None:
        """NOT_READY while work is left."""
        stream = self._state.stream(hStream)
        require(stream.is_idle(), CUresult.CUDA_ERROR_NOT_READY)
        _report(stream.context.error)

    @answers_nothing
    def cuStreamSynchronize(self, hStream: Any) -> None:
        """Wait for all work submitted so far."""
        stream = self._state.stream(hStream)
        stream.mark().wait()
        _report(stream.context.error)

    @answers_nothing
    def cuStreamWaitEvent(self, hStream: Any, hEvent: Any, Flags: int) -> None:
        """Hold the stream's later work until what the event captured is done."""
        stream, event = self._state.stream(hStream), self._state.event(hEvent)
        require(Flags == 0)
        if event.marker is not None:
            stream.wait_for(event.marker)

    @answers_nothing
    def cuLaunchHostFunc(self, hStream: Any, fn: Any, userData: Any) -> None:
        """Call a C function `void fn(void *userData)` in stream order."""
        stream, address, argument = self._state.stream(hStream), number(fn), number(userData)
        require(address > 0)
        stream.submit(lambda: _HOST_FUNCTION(address)(argument))

    @answers_value
    def cuEventCreate(self, Flags: int) -> CUevent:
        """An event of the current context."""
        state, context = self._state, self._state.context()
        require(0 <= Flags < CUevent_flags.CU_EVENT_DISABLE_TIMING << 1)
        with state.mutex:
            handle = state.new_handle()
            context.events[handle] = Event(context, timed=not Flags & CUevent_flags.CU_EVENT_DISABLE_TIMING)
        return CUevent(handle)

    @answers_nothing
    def cuEventDestroy(self, hEvent: Any) -> None:
        """Forget an event."""
        with self._state.mutex:
            event = self._state.event(hEvent)
            del event.context.events[number(hEvent)]

    @answers_nothing
    def cuEventRecord(self, hEvent: Any, hStream: Any) -> None:
        """Capture the stream's work so far."""
        stream, event = self._state.stream(hStream), self._state.event(hEvent)
        require(event.context is stream.context, CUresult.CUDA_ERROR_INVALID_HANDLE)
        event.marker = stream.mark()

    @answers_nothing
    def cuEventQuery(self, hEvent: Any) -> None:
        """NOT_READY while captured work is left."""
        event = self._state.event(hEvent)
        reached = event.marker is None or event.marker.is_reached()
        require(reached, CUresult.CUDA_ERROR_NOT_READY)
        _report(event.context.error)

    @answers_nothing
    def cuEventSynchronize(self, hEvent: Any) -> None:
        """Wait for the captured work."""
        self._state.context()
        event = self._state.event(hEvent)
        if event.marker is not None:
            event.marker.wait()
        _report(event.context.error)

    @answers_value
    def cuEventElapsedTime(self, hStart: Any, hEnd: Any) -> float:
        """Milliseconds from one event to another."""
        start, end = self._state.event(hStart), self._state.event(hEnd)
        if start.marker is None or end.marker is None or not (start.timed and end.timed):
            raise Refused(CUresult.CUDA_ERROR_INVALID_HANDLE)
        require(start.marker.is_reached() and end.marker.is_reached(), CUresult.CUDA_ERROR_NOT_READY)
        return (end.marker.at_s - start.marker.at_s) * 1e3


def _report(error: CUresult | None) -> None:
    if error is not None:
        raise Refused(error)

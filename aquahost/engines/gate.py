"""Work that was written to run to its end, made to advance one step at a time.

A pipeline's call runs in a thread of its own. Its per-step callback *arrives* at the gate and sleeps there; whoever
owns the gate *opens* it for one step and sleeps until the thread arrives again or ends. Each side runs only while the
other waits, so of all threads behind gates and their owner exactly one computes at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
ThreadContext = Callable[[], AbstractContextManager[None]]
"""Entered in the thread as its turn begins, left as the turn ends: what the thread must find as it left it."""


class Arrive(Protocol):
    """Called by the work between two steps; returns when the gate opens, raises to unwind when cancelled."""

    def __call__(self, step: int, steps: int) -> None:
        """`step` steps of `steps` are done."""
        ...


class Cancelled(BaseException):
    """Unwinds cancelled work. Not an Exception, so that no `except Exception` on the way stops it."""


@dataclass(frozen=True, slots=True)
class AtGate:
    """A step is done and another is to come."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Returned(Generic[T]):
    """The work is complete."""

    value: T


@dataclass(frozen=True, slots=True)
class Raised:
    """The work failed. The error's traceback holds the thread's frames, and so its memory: drop both soon."""

    error: BaseException


class Gate(Generic[T]):
    """One piece of work and the thread it runs in; `open`, `cancel` and `ended` belong to one owning thread.

    The thread starts with the first `open`, so work that waits its turn holds none. An owner that has seen `Returned`
    or `Raised`, or has called `cancel`, is done with it: the thread has ended.
    """

    def __init__(self, name: str, work: Callable[[Arrive], T], context: ThreadContext) -> None:
        self._work: Callable[[Arrive], T] | None = work
        self._context = context
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._opened = threading.Semaphore(0)
        self._closed = threading.Semaphore(0)
        self._cancelled = False
        self._turn: AbstractContextManager[None] | None = None
        self._arrival: AtGate | Returned[T] | Raised | None = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether nothing is left to open: the work returned, raised or was cancelled."""
        return self._ended

    def open(self) -> AtGate | Returned[T] | Raised:
        """Let the work do one step. Raises RuntimeError once it has ended."""
        if self._ended:
            raise RuntimeError(f"{self._thread.name} has ended")
        self._let_run()
        arrival, self._arrival = self._arrival, None
        assert arrival is not None
        if not isinstance(arrival, AtGate):
            self._end()
        return arrival

    def cancel(self) -> None:
        """Unwind the work; its memory is free on return. Does nothing once it has ended."""
        if self._ended:
            return
        self._cancelled = True
        if self._thread.ident is not None:
            self._let_run()
        self._end()

    def _let_run(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._opened.release()
        self._closed.acquire()

    def _end(self) -> None:
        self._ended = True
        if self._thread.ident is not None:
            self._thread.join()
        self._arrival = None
        self._work = None

    def _run(self) -> None:
        work, self._work = self._work, None
        assert work is not None
        try:
            self._begin_turn()
            try:
                self._arrival = Returned(work(self._arrive))
            finally:
                self._end_turn()
        except BaseException as error:  # whatever it is, its owner is told and decides
            self._arrival = Raised(error)
        finally:
            del work
            self._closed.release()

    def _arrive(self, step: int, steps: int) -> None:
        if self._cancelled:
            raise Cancelled
        self._end_turn()
        self._arrival = AtGate(step, steps)
        self._closed.release()
        self._opened.acquire()
        self._begin_turn()
        if self._cancelled:
            raise Cancelled

    def _begin_turn(self) -> None:
        turn = self._context()
        turn.__enter__()
        self._turn = turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.__exit__(None, None, None)

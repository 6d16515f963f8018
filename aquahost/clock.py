"""Time as an argument: whatever decides is given a `Clock` and never asks the system itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic time in seconds; only differences mean anything."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start; never goes backwards."""
        ...


class SystemClock:
    """The machine's monotonic clock, the same in every process of one boot."""

    def now_s(self) -> float:
        """Seconds since boot."""
        return time.monotonic()


class VirtualClock:
    """A clock that stands still until it is moved; for tests and for the simulator."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """The time it was last moved to."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`; raises ValueError if negative, since time can't go backwards."""
        if seconds < 0:
            raise ValueError(f"time can't go backwards (asked to advance by {seconds} s)")
        self._now_s += seconds

"""When to draw the next frame: soon, but never so often that drawing takes the machine from the models."""

from __future__ import annotations

FRAME_S = 0.1
"""Least time between two frames."""
SHARE = 0.15
"""Most of one core that drawing may take, where frames are dear; keys are answered at once all the same."""
LONGEST_S = 1.0
"""A frame comes at least this often, whatever it costs."""


class Pace:
    """Keeps what was spent since the last frame within its share of the time since then."""

    def __init__(self) -> None:
        self._drawn_s: float | None = None
        self._spent_s = 0.0

    def is_due(self, now_s: float, spent_s: float) -> bool:
        """Whether to draw now; `spent_s` is the processor time that the drawing thread has had in all."""
        if self._drawn_s is not None:
            since_s = now_s - self._drawn_s
            if since_s < LONGEST_S and (spent_s - self._spent_s) > SHARE * since_s:
                return False
        self._drawn_s, self._spent_s = now_s, spent_s
        return True

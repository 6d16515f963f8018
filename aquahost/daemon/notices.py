"""When a client that asked is told how its prompt stands."""

from __future__ import annotations

from collections import deque

MOST_A_SECOND = 4
"""Notices of one prompt; slices may be shorter than anybody can read."""


class Notices:
    """Passes words on when they are new, at most `MOST_A_SECOND`; what is held back is asked for again soon."""

    __slots__ = ("_said", "_said_at_s")

    def __init__(self) -> None:
        self._said = ""
        self._said_at_s: deque[float] = deque(maxlen=MOST_A_SECOND)

    def is_news(self, words: str, now_s: float) -> bool:
        """Whether to say `words` now; they then count as said."""
        times = self._said_at_s
        if words == self._said or (len(times) == MOST_A_SECOND and now_s - times[0] < 1.0):
            return False
        self._said = words
        times.append(now_s)
        return True

    def forget(self) -> None:
        """What was said is no longer true."""
        self._said = ""

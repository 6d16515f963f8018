"""When a client that asked is told how its prompt stands."""

from __future__ import annotations

from collections import deque

from aquahost.messages.prompts import PromptState

MOST_A_SECOND = 4
"""Notices of one prompt; slices may be shorter than anybody can read."""
COUNTDOWN_S = 0.5
"""Between two notices of the same state, so that a countdown leaves room for what it counts down to."""


class Notices:
    """Passes words on when they are new, and not too often; what is held back is asked for again soon."""

    __slots__ = ("_said", "_said_at_s", "_state")

    def __init__(self) -> None:
        self._said = ""
        self._state: PromptState | None = None
        self._said_at_s: deque[float] = deque(maxlen=MOST_A_SECOND)

    def is_news(self, state: PromptState, words: str, now_s: float) -> bool:
        """Whether to say `words` of a prompt in `state` now; they then count as said."""
        times = self._said_at_s
        if words == self._said or (len(times) == MOST_A_SECOND and now_s - times[0] < 1.0):
            return False
        if state is self._state and now_s - times[-1] < COUNTDOWN_S:
            return False
        self._said, self._state = words, state
        times.append(now_s)
        return True

    def forget(self) -> None:
        """What was said is no longer true."""
        self._said, self._state = "", None

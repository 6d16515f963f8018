"""When a full queue has room again: an estimate from recent completions."""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
KEPT = 64
SHORTEST_S = 1.0
LONGEST_S = 60.0
UNKNOWN_S = 5.0


class CompletionRate:
    """Prompts completed a second, over the last `KEPT` completions within `WINDOW_S`."""

    def __init__(self) -> None:
        self._ended_s: deque[float] = deque(maxlen=KEPT)

    def note(self, now_s: float) -> None:
        """A prompt has ended."""
        self._ended_s.append(now_s)

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until one more prompt has probably ended, between `SHORTEST_S` and `LONGEST_S`."""
        while self._ended_s and now_s - self._ended_s[0] > WINDOW_S:
            self._ended_s.popleft()
        if not self._ended_s:
            return UNKNOWN_S
        each_s = (now_s - self._ended_s[0]) / len(self._ended_s)
        return min(LONGEST_S, max(SHORTEST_S, each_s))

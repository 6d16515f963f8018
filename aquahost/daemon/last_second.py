"""How much figures that only grow have grown in about the last second, from reports that come now and then. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WINDOW_S = 1.0
SILENCE_S = 0.5
"""Whoever's figures grow reports more often than this."""
CLOSEST_S = 0.05
"""Reports that come closer together than this are kept as one, which bounds their number."""


class LastSecond(Generic[K]):
    """The reports of one source over the last second.

    The second ends with the newest report, or now where that is older than `SILENCE_S`: nothing has grown since then.
    What a report adds is spread over the time since the one before, but over a second at most.
    """

    def __init__(self) -> None:
        self._reports: deque[tuple[float, Mapping[K, float]]] = deque()

    def note(self, totals: Mapping[K, float], now_s: float) -> None:
        """The figures are these now; what is missing is 0."""
        reports = self._reports
        if len(reports) > 1 and reports[-1][0] - reports[-2][0] < CLOSEST_S:
            reports.pop()
        if reports and now_s - reports[-1][0] > WINDOW_S:
            reports.append((now_s - WINDOW_S, reports[-1][1]))
        reports.append((now_s, totals))
        while len(reports) > 1 and reports[1][0] <= now_s - WINDOW_S:
            reports.popleft()

    def silent_s(self, now_s: float) -> float:
        """Since the last report; 0 before the first."""
        return now_s - self._reports[-1][0] if self._reports else 0.0

    def growth(self, now_s: float) -> dict[K, float]:
        """By how much each figure has grown; only those that have."""
        if not self._reports:
            return {}
        last_s, last = self._reports[-1]
        end_s = last_s if now_s - last_s <= SILENCE_S else now_s
        grown = {key: total - self._at(key, end_s - WINDOW_S) for key, total in last.items()}
        return {key: more for key, more in grown.items() if more > 0}

    def _at(self, key: K, at_s: float) -> float:
        """A figure at that time, between the reports before and after it."""
        before_s, before = self._reports[0]
        for after_s, after in self._reports:
            if after_s > at_s:
                share = max(0.0, at_s - before_s) / (after_s - before_s) if after_s > before_s else 0.0
                return before.get(key, 0.0) + share * (after.get(key, 0.0) - before.get(key, 0.0))
            before_s, before = after_s, after
        return before.get(key, 0.0)

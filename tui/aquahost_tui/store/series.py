"""Figures over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

SAMPLE_S = 0.5
"""Between two points of a series, however often snapshots come."""
POINTS = 240


class Series:
    """A figure's last points, one each `SAMPLE_S`; of those that come in between the largest counts."""

    __slots__ = ("_began_s", "_points")

    def __init__(self) -> None:
        self._points: deque[float] = deque(maxlen=POINTS)
        self._began_s: float | None = None

    def add(self, at_s: float, value: float) -> None:
        """The figure at this instant; instants must not go back."""
        if self._began_s is None or at_s - self._began_s >= SAMPLE_S:
            self._points.append(value)
            self._began_s = at_s
        else:
            self._points[-1] = max(self._points[-1], value)

    def last(self, count: int) -> Sequence[float]:
        """At most the newest `count` points, oldest first."""
        points = list(self._points)
        return points[-count:] if count > 0 else []

    @property
    def now(self) -> float:
        """The newest point; 0 where there is none."""
        return self._points[-1] if self._points else 0.0


class Rate:
    """How fast a count grows, over about the last second; a count that falls begins anew."""

    __slots__ = ("_marks",)

    OVER_S = 1.0

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque()

    def add(self, at_s: float, count: float) -> None:
        """The count at this instant."""
        marks = self._marks
        if marks and count < marks[-1][1]:
            marks.clear()
        marks.append((at_s, count))
        while len(marks) > 2 and at_s - marks[1][0] >= self.OVER_S:
            marks.popleft()

    @property
    def per_s(self) -> float:
        """0 until two instants are known."""
        if len(self._marks) < 2:
            return 0.0
        (began_s, first), (ended_s, last) = self._marks[0], self._marks[-1]
        return (last - first) / (ended_s - began_s) if ended_s > began_s else 0.0

"""Durations, counted by how long they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from aquahost.messages.figures import DurationBucket, Durations


class Histogram:
    """Counts durations in buckets with the rising upper bounds `bounds_s`; longer ones count in the total alone."""

    __slots__ = ("_bounds_s", "_counts", "_sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def add(self, duration_s: float, times: int = 1) -> None:
        """Count a duration, or so many that are alike."""
        self._counts[bisect_left(self._bounds_s, duration_s)] += times
        self._sum_s += duration_s * times

    def view(self) -> Durations:
        """What has been counted."""
        upto = list(accumulate(self._counts))
        buckets = [DurationBucket(bound_s, count) for bound_s, count in zip(self._bounds_s, upto, strict=False)]
        return Durations(buckets=buckets, sum_s=self._sum_s, count=upto[-1])

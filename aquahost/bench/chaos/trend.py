"""Whether something measured over and over grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

_BLOCKS = 24
"""Neighbouring samples are alike, and counting each would make any drift look sure: blocks of them count, each by its
median."""
_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A line through samples: the median of the slopes between all pairs (Theil and Sen)."""

    start: float
    """Where the line begins."""
    growth: float
    """By how much it rises from the first sample to the last."""
    least_growth: float
    """Lower end of the growth's confidence interval (99 %); at or below 0 nothing is proven to grow."""

    def is_flat(self, allowed: float) -> bool:
        """Whether it is not proven to grow by more than `allowed`, in units of what was measured."""
        return self.least_growth <= allowed


def trend(samples: Sequence[tuple[float, float]]) -> Trend | None:
    """The trend of samples, each a time and a value, in the order of time; None of fewer than four."""
    from scipy.stats import theilslopes

    if len(samples) < 4:
        return None
    count = min(_BLOCKS, len(samples) // 2)
    edges = [len(samples) * number // count for number in range(count + 1)]
    blocks = [samples[begin:end] for begin, end in pairwise(edges)]
    at_s = [median(time_s for time_s, _ in block) for block in blocks]
    values = [median(value for _, value in block) for block in blocks]
    slope, intercept, least, _ = theilslopes(values, at_s, _CONFIDENCE)
    span_s = samples[-1][0] - samples[0][0]
    return Trend(
        start=float(intercept + slope * samples[0][0]),
        growth=float(slope * span_s),
        least_growth=float(least * span_s),
    )

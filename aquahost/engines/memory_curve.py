"""How much memory requests need by their size, from a few that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one request took beyond the weights."""

    size: float
    """What its memory grows with: pixels, tokens or seconds."""
    peak_bytes: int
    """Alive at the worst instant."""
    held_bytes: int
    """Alive while it sleeps at its gate, at most."""


class MemoryCurve:
    """Bytes by size: straight lines between what was measured, beyond that as between the last two.

    Below the smallest it stays level, and it never falls. Where nothing was measured it is 0.
    """

    def __init__(self, measured: Sequence[Measured]) -> None:
        """`measured`: by ascending size."""
        self._sizes = [one.size for one in measured]
        self._peaks = _rising([one.peak_bytes for one in measured])
        self._held = _rising([one.held_bytes for one in measured])

    def needed_bytes(self, sizes: Sequence[float]) -> int:
        """For prompts of these sizes that have begun: one at its worst instant, the others asleep at their gates."""
        held = [self._at(self._held, size) for size in sizes]
        awake = [max(0.0, self._at(self._peaks, size) - asleep) for size, asleep in zip(sizes, held, strict=True)]
        return round(sum(held) + max(awake, default=0.0))

    def largest_within(self, nbytes: int, sizes: Sequence[float]) -> float | None:
        """The largest of these sizes that needs no more than this alone; None if none does."""
        return max((size for size in sizes if self.needed_bytes([size]) <= nbytes), default=None)

    def _at(self, values: Sequence[int], size: float) -> float:
        sizes = self._sizes
        if not sizes:
            return 0.0
        if size <= sizes[0]:
            return float(values[0])
        if len(sizes) == 1:  # all that can be said: no more than in proportion
            return values[0] * size / sizes[0]
        lines = list(pairwise(zip(sizes, values, strict=True)))
        (x0, y0), (x1, y1) = next((line for line in lines if size <= line[1][0]), lines[-1])
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0)


def _rising(values: Sequence[int]) -> list[int]:
    return [max(values[: index + 1]) for index in range(len(values))]

"""Which way the KV of one model went, and how much of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aquahost.engines.llm.tiers import Tier
from aquahost.messages.wire import Paged, Traffic
from aquahost_cuda.driver import HOST


class KvTraffic:
    """Bytes since the model was loaded, by where they came from and went to; a place is a GPU, or the host (-1).

    Noted once for each run of blocks that was copied, and once for each step that read in place.
    """

    def __init__(self, gpu: int) -> None:
        """`gpu`: the model's own."""
        self._gpu = gpu
        self._moved: Counter[tuple[int, int]] = Counter()
        self._read: Counter[int] = Counter()

    def moved(self, source: int, target: int, nbytes: int) -> None:
        """Blocks have arrived where they were copied to."""
        self._moved[source, target] += nbytes

    def read(self, loads: Mapping[int, int]) -> None:
        """A step has read so many bytes where they lie, by place."""
        for place, nbytes in loads.items():
            self._read[place] += nbytes

    def tier(self, place: int) -> Tier:
        """What that place is to the model."""
        if place == HOST:
            return Tier.HOST
        return Tier.LOCAL if place == self._gpu else Tier.PEER

    @property
    def paged(self) -> Counter[tuple[Tier, Tier]]:
        """What was moved, by tiers."""
        found: Counter[tuple[Tier, Tier]] = Counter()
        for (source, target), nbytes in self._moved.items():
            found[self.tier(source), self.tier(target)] += nbytes
        return found

    def paged_figures(self) -> tuple[Paged, ...]:
        """The same as a worker reports it."""
        return tuple(Paged(source, target, n) for (source, target), n in sorted(self.paged.items()))

    def figures(self) -> tuple[Traffic, ...]:
        """All that went from one place to another, reads included."""
        found = self._moved.copy()
        for place, nbytes in self._read.items():
            found[place, self._gpu] += nbytes
        return tuple(Traffic(source, target, n) for (source, target), n in sorted(found.items()) if source != target)

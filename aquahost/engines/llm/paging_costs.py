"""What paging costs this model, as measured."""

from __future__ import annotations

import statistics
from collections import defaultdict, deque

from aquahost.engines.llm.tiers import Tier
from aquahost.scheduling.room import Costs
from aquahost.scheduling.smoothing import smooth

_KEPT = 15
"""Transfers whose median counts: one that met a busy machine says nothing of the link."""


class PagingCosts:
    """Learns from transfers that have arrived, and from the time that the engine itself spends on each."""

    def __init__(self) -> None:
        self._block_s: dict[Tier, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._transfer_s = 0.0

    def note_transfer(self, tier: Tier, blocks: int, took_s: float) -> None:
        """So many blocks came from or went to `tier`, in so many seconds from start to arrival."""
        if blocks:
            self._block_s[tier].append(took_s / blocks)

    def note_work(self, took_s: float) -> None:
        """The engine spent so long on one prompt's way out or in."""
        self._transfer_s = smooth(self._transfer_s, took_s)

    def costs(self, peer_block_s: float | None) -> Costs:
        """The costs at present; `peer_block_s` is what the slowest leased link takes for a block, if that is known."""
        return Costs(
            peer_block_s=peer_block_s or self._median_s(Tier.PEER),
            host_block_s=self._median_s(Tier.HOST),
            transfer_s=self._transfer_s,
        )

    def _median_s(self, tier: Tier) -> float | None:
        taken = self._block_s.get(tier)
        return statistics.median(taken) if taken else None

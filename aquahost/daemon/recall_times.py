"""How long recalls take, from the donor's wish until its last byte is back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

from aquahost.leasing.lease import Lease
from aquahost.messages.figures import RECALL_BUCKETS_S, RecallBucket


class RecallTimes:
    """Counts recalls by duration; a recall that is widened while it lasts is one."""

    def __init__(self) -> None:
        self.sum_s = 0.0
        self.count = 0
        self._begun_s: dict[int, float] = {}
        self._counts = [0] * (len(RECALL_BUCKETS_S) + 1)

    def begin(self, lease_id: int, now_s: float) -> None:
        """Some of a lease is wanted back."""
        self._begun_s.setdefault(lease_id, now_s)

    def look(self, leases: Mapping[int, Lease], now_s: float) -> None:
        """Note the recalls that have ended: the lease is gone, or nothing of it is wanted any more."""
        for lease_id in [n for n in self._begun_s if n not in leases or not leases[n].recalled_bytes]:
            took_s = now_s - self._begun_s.pop(lease_id)
            self.sum_s += took_s
            self.count += 1
            self._counts[bisect_left(RECALL_BUCKETS_S, took_s)] += 1

    def buckets(self) -> list[RecallBucket]:
        """How many took at most so long."""
        return [
            RecallBucket(upper_s, n) for upper_s, n in zip(RECALL_BUCKETS_S, accumulate(self._counts), strict=False)
        ]

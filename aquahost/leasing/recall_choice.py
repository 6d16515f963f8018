"""Which leases of a GPU give how much back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Recallable:
    """A lease, by what it would take to recall it."""

    lease_id: int
    worker: int
    keep_bytes: int
    """What is not recalled of it yet."""
    granule_bytes: int
    empty_bytes: int
    """How much of that probably holds nothing: not mapped yet, or more than its borrower could use."""
    bytes_per_s: float
    """Of the borrower's path to where it would move the rest."""


def choose_recalls(options: list[Recallable], nbytes: int) -> list[tuple[int, int]]:
    """(lease, bytes) to recall so that at least `nbytes` come back, or all there is.

    The cheapest lease comes first: the fewest seconds of copying for a byte given back, so empty memory before full
    and fast links before slow ones; among equals, the fewest bytes beyond the need, then the fewest leases disturbed,
    then the youngest lease, whose bytes have been there for the shortest time. Bytes recalled are whole granules, or
    all that is left of a lease.
    """
    left = [option for option in options if option.keep_bytes > 0]
    chosen: list[tuple[int, int]] = []
    while nbytes > 0 and left:
        best = min(left, key=lambda option: _cost(option, nbytes))
        taken = _taken(best, nbytes)
        chosen.append((best.lease_id, taken))
        nbytes -= taken
        left.remove(best)
        for option in left:  # a borrower has its unneeded bytes once, not once in each lease
            if option.worker == best.worker:
                option.empty_bytes = max(0, option.empty_bytes - taken)
    return chosen


def _taken(option: Recallable, nbytes: int) -> int:
    granule = option.granule_bytes
    return min(option.keep_bytes, -(-nbytes // granule) * granule)


def _cost(option: Recallable, nbytes: int) -> tuple[float, int, int, int]:
    taken = _taken(option, nbytes)
    seconds_a_byte = max(0, taken - option.empty_bytes) / taken / option.bytes_per_s
    return seconds_a_byte, max(0, taken - nbytes), -taken, -option.lease_id

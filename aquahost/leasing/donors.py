"""Whose memory is lent to whom: fast links first, spread over equals, fair among those who want it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EQUAL = 0.8
"""Links at least this fast, measured by the fastest, count as equally fast: measurements scatter that much."""


@dataclass(slots=True, kw_only=True)
class Want:
    """A borrower that could use more."""

    worker: int
    held_bytes: int
    """What it has of others already."""
    wanted_bytes: int
    """How much more; rounded up to whole granules when served."""
    granule_bytes: int
    rates: Mapping[int, float]
    """Bytes per second to each GPU that may lend to it."""


def share_out(wants: list[Want], rooms: Mapping[int, int]) -> dict[tuple[int, int], int]:
    """Bytes to grant by (worker, donor), of `rooms`, the bytes that each donor can lend.

    Max-min fair by bytes held, of what is free now: whoever has least is served first, up to the next one, and equals
    get equal shares. What others hold already stays theirs.
    """
    left = dict(rooms)
    grants: dict[tuple[int, int], int] = {}
    hungry = list(wants)
    while hungry:
        want = min(hungry, key=lambda want: (want.held_bytes, want.worker))
        granule = want.granule_bytes
        room = sum(left[donor] // granule for donor in want.rates) * granule
        part = min(-(-want.wanted_bytes // granule) * granule, room, _fair_part(want, hungry, room))
        if part <= 0:
            hungry.remove(want)
            continue
        for donor, nbytes in stripe(part, granule, left, want.rates).items():
            left[donor] -= nbytes
            grants[want.worker, donor] = grants.get((want.worker, donor), 0) + nbytes
        want.held_bytes += part
        want.wanted_bytes -= part
    return grants


def _fair_part(want: Want, hungry: list[Want], room: int) -> int:
    """The most to give this one, which has least, before the others are looked at again."""
    if len(hungry) == 1:
        return room
    next_held = min(other.held_bytes for other in hungry if other is not want)
    part = max(next_held - want.held_bytes, room // len(hungry))
    return max(part // want.granule_bytes, 1) * want.granule_bytes


def stripe(nbytes: int, granule_bytes: int, rooms: Mapping[int, int], rates: Mapping[int, float]) -> dict[int, int]:
    """Spread whole granules over donors: evenly over the fastest, whose bandwidths add up, then over the next fastest.

    All of `nbytes` is placed if `rooms` hold that many granules.
    """
    by_rate = sorted((donor for donor in rates if rooms[donor] >= granule_bytes), key=lambda donor: -rates[donor])
    granules = nbytes // granule_bytes
    placed: dict[int, int] = {}
    while granules and by_rate:
        fastest = rates[by_rate[0]]
        tier = [donor for donor in by_rate if rates[donor] >= EQUAL * fastest]
        by_rate = by_rate[len(tier) :]
        tier.sort(key=lambda donor: rooms[donor])  # the smallest first, so that the others take what it cannot
        for index, donor in enumerate(tier):
            share = min(rooms[donor] // granule_bytes, granules // (len(tier) - index))
            if share:
                placed[donor] = share * granule_bytes
                granules -= share
    return placed

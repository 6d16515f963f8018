"""Replicas as the programs see them: whole numbers of small units, so that no rounding of theirs can matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aquahost.placement.needs import Need
from aquahost.units import MIB

SHARE_UNIT = 10_000
"""A GPU's time in whole units."""
GIB_UNITS = 1024
"""Units of memory (MiB) in a GiB, in which the programs calculate."""
_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One replica. Memory in MiB, of each GPU of its group, rounded to its disadvantage."""

    need: Need
    replica: int
    group: int
    pin: int | None
    floor: int
    """Free when it is loaded."""
    taken: int
    """Never lent."""
    flexible: int
    """KV on its own GPU or on others."""
    flexible_away: int
    """Of that, what may be on others."""
    remote: int
    """KV on others alone."""
    share: int
    """Of its GPUs' time, in `SHARE_UNIT`s."""

    @property
    def wants(self) -> int:
        """All that it asks of the server, for each GPU of its group."""
        return self.taken + self.flexible + self.remote

    @property
    def load(self) -> int:
        """All that it asks of the server."""
        return self.group * self.wants

    @property
    def kind(self) -> tuple[object, ...]:
        """Equal for parts that can stand for each other. Replicas of one model stand for themselves alone, since no
        two of them may be on one GPU."""
        own = self.need.name if self.need.replicas > 1 else None
        sizes = (self.group, self.floor, self.taken, self.flexible, self.flexible_away, self.remote)
        return (*sizes, self.share, self.pin, own)


def parts_of(needs: Iterable[Need]) -> list[Part]:
    """All replicas, in order."""
    return [_part(need, replica) for need in needs for replica in range(need.replicas)]


def room_units(memory_bytes: int) -> int:
    """A GPU's memory in MiB."""
    return memory_bytes // MIB


def classes_of(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts in groups that can stand for each other."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault(part.kind, []).append(part)
    return list(groups.values())


def _part(need: Need, replica: int) -> Part:
    flexible = _up(need.flexible_bytes)
    away = flexible if need.borrow_most_bytes is None else min(flexible, need.borrow_most_bytes // MIB)
    taken = _up(need.taken_bytes)
    return Part(
        need=need,
        replica=replica,
        group=need.group,
        pin=need.gpu,
        floor=max(_up(need.floor_bytes), taken),
        taken=taken,
        flexible=flexible,
        flexible_away=away,
        remote=_up(need.remote_bytes),
        share=min(SHARE_UNIT, math.ceil(need.utilisation * SHARE_UNIT - _TINY)),
    )


def _up(nbytes: int) -> int:
    return -(-nbytes // MIB)

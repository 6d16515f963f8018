"""Placing parts one after another on the GPUs that have room: quick, and often enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import SHARE_UNIT, Part, room_units

Order = Callable[[int], int]
"""Which GPU goes first: the one with least of this, by its free memory."""


class Shelf:
    """The GPUs of a fleet as they fill up."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._free = [room_units(fleet.memory_bytes)] * fleet.all_gpus
        self._time = [SHARE_UNIT] * fleet.all_gpus
        self._models: list[set[str]] = [set() for _ in range(fleet.all_gpus)]

    def choose(self, part: Part, server: int, order: Order) -> list[int]:
        """GPUs of the server for each of the part's group; none if it does not fit."""
        first = server * self._fleet.gpus
        fitting = [gpu for gpu in range(first, first + self._fleet.gpus) if self._fits(part, gpu)]
        fitting.sort(key=lambda gpu: (gpu != part.pin, order(self._free[gpu]), gpu))
        if part.pin is not None and fitting[:1] != [part.pin]:
            return []
        group: list[int] = []
        for gpu in fitting:
            if len(group) < part.group and all(self._fleet.linked(gpu - first, one - first) for one in group):
                group.append(gpu)
        return group if len(group) == part.group else []

    def take(self, part: Part, gpus: Sequence[int]) -> None:
        """Put the part there."""
        for gpu in gpus:
            self._free[gpu] -= part.floor
            self._time[gpu] -= part.share
            self._models[gpu].add(part.need.name)

    @property
    def most_free(self) -> int:
        """Of one GPU, in MiB."""
        return max(self._free)

    def most_time(self, part: Part) -> int:
        """Free on one of the GPUs that have memory for the part, in `SHARE_UNIT`s."""
        pairs = zip(self._free, self._time, strict=True)
        return max((time for free, time in pairs if free >= part.floor), default=0)

    def _fits(self, part: Part, gpu: int) -> bool:
        return (
            part.floor <= self._free[gpu] and part.share <= self._time[gpu] and part.need.name not in self._models[gpu]
        )


def place_quickly(parts: Sequence[Part], fleet: Fleet) -> list[list[int]] | None:
    """GPUs of each part on one server, in the first of a few simple ways that works; None says nothing."""
    for ordered in _orders(range(len(parts)), parts):
        for order in (_emptiest, _fullest):
            shelf, groups = Shelf(fleet), {}
            for number in ordered:
                groups[number] = shelf.choose(parts[number], 0, order)
                if not groups[number]:
                    break
                shelf.take(parts[number], groups[number])
            else:
                return [groups[number] for number in range(len(parts))]
    return None


def divide_quickly(parts: Sequence[Part], fleet: Fleet) -> list[list[Part]] | None:
    """The parts by server, each where least is asked for so far and it fits; None if that leads nowhere."""
    for ordered in _orders(range(len(parts)), parts):
        shelf = Shelf(fleet)
        servers: list[list[Part]] = [[] for _ in range(fleet.servers)]
        for part in (parts[number] for number in ordered):
            by_load = sorted(range(fleet.servers), key=lambda one: sum(other.load for other in servers[one]))
            choices = ((server, shelf.choose(part, server, _emptiest)) for server in by_load)
            server, gpus = next(((server, gpus) for server, gpus in choices if gpus), (-1, []))
            if not gpus:
                break
            shelf.take(part, gpus)
            servers[server].append(part)
        else:
            return servers
    return None


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A part that found no GPUs beside the others."""

    part: Part
    most_free: int
    """Of one GPU then, in MiB."""
    most_time: int
    """Free then on one of the GPUs that have memory for it, in `SHARE_UNIT`s."""


def left_over(parts: Sequence[Part], fleet: Fleet) -> LeftOver | None:
    """The first part for which there is no room beside the others, placed one by one; None if there is for all."""
    shelf = Shelf(fleet)
    for number in next(_orders(range(len(parts)), parts)):
        part = parts[number]
        found = (shelf.choose(part, server, _fullest) for server in range(fleet.servers))
        gpus = next((gpus for gpus in found if gpus), [])
        if not gpus:
            return LeftOver(part, shelf.most_free, shelf.most_time(part))
        shelf.take(part, gpus)
    return None


def _orders(numbers: Iterable[int], parts: Sequence[Part]) -> Iterator[list[int]]:
    """Pinned ones and large groups first, then by memory, or by time."""
    for size in (_by_memory, _by_time):
        yield sorted(
            numbers, key=lambda number: (parts[number].pin is None, -parts[number].group, -size(parts[number]))
        )
    yield sorted(numbers, key=lambda number: (parts[number].pin is None, -parts[number].group * parts[number].floor))


def _by_memory(part: Part) -> int:
    return part.floor


def _by_time(part: Part) -> int:
    return part.share


def _emptiest(free: int) -> int:
    return -free


def _fullest(free: int) -> int:
    return free

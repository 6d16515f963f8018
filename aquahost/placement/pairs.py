"""Two servers' parts, divided anew by a small program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import GIB_UNITS, SHARE_UNIT, Part, classes_of, room_units
from aquahost.placement.program import Program, UnsolvedError

_NODES = 60
_GAP = 0.02


@dataclass(frozen=True, slots=True)
class Sum:
    """Of one server: terms and a constant."""

    terms: dict[int, float]
    constant: float


class Pair:
    """How many parts of each class are on the first of two servers; the rest is on the second. Pinned parts stay."""

    def __init__(self, one: Sequence[Part], other: Sequence[Part], fleet: Fleet) -> None:
        self.program = Program()
        self._pinned = [[part for part in parts if part.pin is not None] for parts in (one, other)]
        self._classes = classes_of([part for part in (*one, *other) if part.pin is None])
        self._here = [self.program.variable(0, len(group), whole=True) for group in self._classes]
        self._chosen: list[int] = []
        self._must_fit(fleet)

    def sums(self, size: Callable[[Part], float]) -> tuple[Sum, Sum]:
        """Of both servers."""
        sizes = [size(group[0]) for group in self._classes]
        fixed = [sum(map(size, parts)) for parts in self._pinned]
        here = {variable: each for variable, each in zip(self._here, sizes, strict=True) if each}
        everything = sum(each * len(group) for each, group in zip(sizes, self._classes, strict=True))
        there = {variable: -each for variable, each in here.items()}
        return Sum(here, fixed[0]), Sum(there, fixed[1] + everything)

    def mean(self, size: Callable[[Part], float]) -> float:
        """Half of what the sizes of both servers' parts come to."""
        one, other = self.sums(size)
        return (one.constant + other.constant) / 2

    def at_most(self, size: Callable[[Part], float], most: float = 0.0, variable: int | None = None) -> None:
        """Of either server the sizes come to at most `most` and the variable."""
        for one in self.sums(size):
            terms = dict(one.terms) if variable is None else one.terms | {variable: -1.0}
            self.program.row(terms, high=most - one.constant)

    def excess(self, size: Callable[[Part], float], most: float) -> list[int]:
        """For each server a variable: by how much the sizes exceed `most`."""
        over = []
        for one in self.sums(size):
            over.append(self.program.variable())
            self.program.row(one.terms | {over[-1]: -1.0}, high=most - one.constant)
        return over

    def solve(self, objective: dict[int, float]) -> tuple[list[Part], list[Part]] | None:
        """Both servers' parts; None if there is no way, or none was found in time."""
        try:
            solution = self.program.solve(objective, gap=_GAP, nodes=_NODES)
        except UnsolvedError:
            return None
        if solution is None:
            return None
        self._chosen = [solution.chosen(variable) for variable in self._here]
        one, other = list(self._pinned[0]), list(self._pinned[1])
        for count, group in zip(self._chosen, self._classes, strict=True):
            one += group[:count]
            other += group[count:]
        return one, other

    def forbid(self, number: int) -> None:
        """What the last solution put on the first (0) or second (1) server does not fit: leave one of it away."""
        counts = [
            len(group) - count if number else count for count, group in zip(self._chosen, self._classes, strict=True)
        ]
        terms, constant = {}, 0.0
        for variable, group, count in zip(self._here, self._classes, counts, strict=True):
            if count:
                terms[variable] = -1.0 if number else 1.0
                constant += len(group) if number else 0.0
        self.program.row(terms, high=sum(counts) - 1 - constant)

    def _must_fit(self, fleet: Fleet) -> None:
        """What every division that fits on the GPUs obeys; not all that obey it do fit."""
        room = room_units(fleet.memory_bytes)
        self.at_most(lambda part: part.group * part.floor / GIB_UNITS, fleet.gpus * room / GIB_UNITS)
        self.at_most(lambda part: part.group * part.share / SHARE_UNIT, fleet.gpus)
        # No two parts larger than a half share a GPU, nor one larger than a third with one larger than two thirds.
        self.at_most(lambda part: part.group * (2 * part.floor > room), fleet.gpus)
        self.at_most(lambda part: part.group * (2 * part.share > SHARE_UNIT), fleet.gpus)
        self.at_most(lambda part: part.group * _thirds(part.floor, room), 2 * fleet.gpus)
        self.at_most(lambda part: part.group * _thirds(part.share, SHARE_UNIT), 2 * fleet.gpus)
        for name in sorted({group[0].need.name for group in self._classes if group[0].need.replicas > 1}):
            self.at_most(functools.partial(_of_model, name), fleet.gpus)


def _of_model(name: str, part: Part) -> float:
    return part.group if part.need.name == name else 0


def within_server(part: Part, fleet: Fleet) -> Part:
    """The part with its pin counted within its server."""
    return part if part.pin is None else replace(part, pin=part.pin % fleet.gpus)


def one_server(fleet: Fleet) -> Fleet:
    """A single server of the fleet."""
    return replace(fleet, servers=1)


def _thirds(size: int, whole: int) -> int:
    """Thirds that it exceeds."""
    return (3 * size > whole) + (3 * size > 2 * whole)

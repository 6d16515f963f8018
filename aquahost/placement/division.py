"""Which server each part goes to, for fleets too large for one program: a first division, then pairs of servers divided
anew, each by a program of its own, until none gets better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from aquahost.placement.first_fit import place_quickly
from aquahost.placement.fleet import Fleet
from aquahost.placement.gpu_program import packs
from aquahost.placement.pairs import Pair, one_server, within_server
from aquahost.placement.parts import Part
from aquahost.placement.program import UnsolvedError

Division = list[list[Part]]
"""Parts by server."""
Report = Callable[[str, int, int], None]
"""Is told what is being done, how far it is, and how far it goes."""
_ROUNDS = 60
_TRIES = 4
"""How often a pair is divided anew where the last way does not fit on the GPUs."""
_PACK_NODES = 2000


class Aim(Protocol):
    """What a division is to be good at."""

    def worth(self, servers: Sequence[Sequence[Part]]) -> tuple[int, ...]:
        """How good these servers are together; less is better, the first number that differs decides."""

    def add_to(self, pair: Pair) -> dict[int, float]:
        """Add rows to a pair's program; returns the objective's terms."""

    def settled(self, one: Sequence[Part], other: Sequence[Part]) -> bool:
        """Whether to divide these two anew is not worth the while."""

    def weight(self, part: Part) -> int:
        """By whose sum servers are paired, most with least."""


class FitCheck:
    """Whether one server's GPUs have room for parts; remembers what it was asked."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = one_server(fleet)
        self._known: dict[tuple[object, ...], bool] = {}

    def __call__(self, parts: Sequence[Part]) -> bool:
        """No where that could not be told in time."""
        parts = [within_server(part, self._fleet) for part in parts]
        key = kinds(parts)
        if key not in self._known:
            self._known[key] = place_quickly(parts, self._fleet) is not None or self._fits_exactly(parts)
        return self._known[key]

    def _fits_exactly(self, parts: Sequence[Part]) -> bool:
        try:
            return packs(parts, self._fleet, nodes=_PACK_NODES)
        except UnsolvedError:
            return False


def improved(
    division: Division, aim: Aim, fits: FitCheck, fleet: Fleet, report: Callable[[int, int], None]
) -> Division:
    """The division after pairs of servers were divided anew, until nothing gets better."""
    servers = [list(parts) for parts in division]
    stale: set[tuple[object, object]] = set()
    quiet = 0
    for done in range(_ROUNDS):
        report(done, _ROUNDS)
        changed = False
        for one, other in _pairs(servers, aim, done):
            key = (kinds(servers[one]), kinds(servers[other]))
            if key in stale or aim.settled(servers[one], servers[other]):
                continue
            better = _divided(servers[one], servers[other], aim, fits, fleet)
            if better is None:
                stale.add(key)
            else:
                servers[one], servers[other] = better
                changed = True
        quiet = 0 if changed else quiet + 1
        if quiet > min(3, len(servers) // 2):
            break
    report(_ROUNDS, _ROUNDS)
    return servers


def kinds(parts: Sequence[Part]) -> tuple[object, ...]:
    """Equal for servers whose parts can stand for each other."""
    return tuple(sorted(repr(part.kind) for part in parts))


def _pairs(servers: Division, aim: Aim, turn: int) -> Iterator[tuple[int, int]]:
    """Each server once: the heaviest with the lightest, in later rounds with others."""
    ordered = sorted(range(len(servers)), key=lambda one: sum(map(aim.weight, servers[one])))
    light, heavy = ordered[: len(ordered) // 2], ordered[: (len(ordered) - 1) // 2 : -1]
    for place, one in enumerate(heavy[: len(light)]):
        yield one, light[(place + turn) % len(light)]


def _divided(
    one: Sequence[Part], other: Sequence[Part], aim: Aim, fits: FitCheck, fleet: Fleet
) -> tuple[list[Part], list[Part]] | None:
    """Both servers' parts divided better, or None."""
    pair = Pair(one, other, fleet)
    objective = aim.add_to(pair)
    now = aim.worth([one, other])
    for _ in range(_TRIES):
        found = pair.solve(objective)
        if found is None or aim.worth(found) >= now:
            return None
        unfit = [number for number, parts in enumerate(found) if not fits(parts)]
        if not unfit:
            return found
        for number in unfit:
            pair.forbid(number)
    return None

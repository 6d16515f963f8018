"""The best division among servers in AQUA's own objective, for comparison with ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aquahost.placement.aims import AquaAim
from aquahost.placement.aqua_objective import PAIR_UNITS, aqua_value, signed
from aquahost.placement.division import Division, FitCheck, improved
from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import Part, room_units

_COUNTS = 2
"""How many values of the largest count are tried: the least that there can be, and some above."""


@dataclass(frozen=True, slots=True)
class AquaPlan:
    """AQUA's plan and how good it is by its own measure."""

    division: Division
    value: int
    """Of its objective, in MiB."""
    bound: int
    """No division has less."""


def aqua_plan(
    parts: Sequence[Part], fleet: Fleet, report: Callable[[int, int], None] = lambda done, whole: None
) -> AquaPlan | None:
    """The best that was found; None if there are more shards than GPUs, or no way to divide them was found.

    Groups stand first in line, since whatever comes first finds most room.
    """
    room = room_units(fleet.memory_bytes)
    first = _first_division(parts, fleet, room)
    if first is None:
        return None
    each = [signed(part, room) for part in parts]
    memory, least = sum(one.memory for one in each), -(-sum(one.count for one in each) // fleet.servers)
    fits = FitCheck(fleet)
    found = [first]
    for number in range(_COUNTS):

        def tell(done: int, whole: int, before: int = number) -> None:
            report(before * whole + done, _COUNTS * whole)

        found.append(improved(first, AquaAim(fleet, least + number), fits, fleet, tell))
    best = min(found, key=lambda division: aqua_value(division, room))
    return AquaPlan(best, aqua_value(best, room), -(-memory // fleet.servers) + PAIR_UNITS * least)


def _first_division(parts: Sequence[Part], fleet: Fleet, room: int) -> Division | None:
    """Producers go where least can be lent so far, consumers where most can."""
    servers: Division = [[] for _ in range(fleet.servers)]
    free, sums = [fleet.gpus] * fleet.servers, [0] * fleet.servers
    for part in sorted(parts, key=lambda part: (part.pin is None, -part.group, -abs(signed(part, room).memory))):
        pinned = None if part.pin is None else part.pin // fleet.gpus
        open_to = [s for s in range(fleet.servers) if free[s] >= part.group and pinned in (None, s)]
        if not open_to or part.floor > room:
            return None
        memory = signed(part, room).memory
        server = min(open_to, key=lambda one: (sums[one] if memory > 0 else -sums[one], -free[one]))
        servers[server].append(part)
        free[server] -= part.group
        sums[server] += memory
    return servers

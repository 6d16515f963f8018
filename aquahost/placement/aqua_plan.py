"""The best division among servers in AQUA's own objective, for comparison with ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aquahost.placement.aims import AquaAim
from aquahost.placement.aqua_objective import PAIR_UNITS, aqua_value, objective_terms, signed
from aquahost.placement.division import Division, FitCheck, improved
from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import GIB_UNITS, Part, room_units
from aquahost.placement.program import Program, UnsolvedError, total

_EXACT = 256
"""Parts times servers up to which one program decides."""
_NODES = 4000
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
    if len(parts) * fleet.servers <= _EXACT:
        return _exact_plan(parts, fleet, room, first)
    least = _least_count(parts, fleet, room)
    fits = FitCheck(fleet)
    found = [first]
    for number in range(_COUNTS):

        def tell(done: int, whole: int, before: int = number) -> None:
            report(before * whole + done, _COUNTS * whole)

        found.append(improved(first, AquaAim(fleet, least + number), fits, fleet, tell))
    best = min(found, key=lambda division: aqua_value(division, room))
    return AquaPlan(best, aqua_value(best, room), _bound(parts, fleet, room))


def _least_count(parts: Sequence[Part], fleet: Fleet, room: int) -> int:
    """What the largest count of producers less consumers is at least."""
    counts = [signed(part, room).count for part in parts]
    least = -(-sum(counts) // fleet.servers)
    full = sum(map(abs, counts)) == fleet.all_gpus
    # On a server whose GPUs are all one or the other, the count is even or odd as the number of GPUs is.
    return least + 1 if full and (least - fleet.gpus) % 2 else least


def _bound(parts: Sequence[Part], fleet: Fleet, room: int) -> int:
    """The largest sum of memory is at least the mean."""
    memory = sum(signed(part, room).memory for part in parts)
    return -(-memory // fleet.servers) + PAIR_UNITS * _least_count(parts, fleet, room)


def _exact_plan(parts: Sequence[Part], fleet: Fleet, room: int, first: Division) -> AquaPlan:
    """By one program; `first` where its search ends without any."""
    program = Program()
    where = [{server: program.binary() for server in range(fleet.servers)} for _ in parts]
    for part, here in zip(parts, where, strict=True):
        program.row(total(here.values()), 1, 1)
        if part.pin is not None:
            program.fix(here[part.pin // fleet.gpus], 1)
    for server in range(fleet.servers):
        program.row({here[server]: float(part.group) for part, here in zip(parts, where, strict=True)}, high=fleet.gpus)
    terms = [{server: {variable: 1.0} for server, variable in here.items()} for here in where]
    objective = objective_terms(program, parts, terms, room)
    try:
        solution = program.solve(objective, nodes=_NODES)
    except UnsolvedError:
        solution = None
    if solution is None:
        return AquaPlan(first, aqua_value(first, room), _bound(parts, fleet, room))
    division: Division = [
        [part for part, here in zip(parts, where, strict=True) if solution.chosen(here[server])]
        for server in range(fleet.servers)
    ]
    return AquaPlan(division, aqua_value(division, room), math.floor(solution.bound * GIB_UNITS))


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

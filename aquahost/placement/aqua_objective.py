"""The objective that AQUA's authors publish for their placer, and the best plan under it, to compare ours with.

Every model is on exactly one server, a GPU for each of its shards and at most as many shards as there are GPUs; what
is minimised is the largest server's sum of signed memory (what producers can lend less what consumers lack) and 80 GB
times the largest server's number of producers less consumers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aquahost.placement.parts import GIB_UNITS, Part
from aquahost.placement.program import Program, Terms, scaled, total
from aquahost.units import MIB

PAIR_UNITS = 80 * 10**9 // MIB
"""What a producer without a consumer counts, in MiB."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A part, or a server's parts together."""

    memory: int
    """What it can lend, or lacks (below 0), in MiB, over all its GPUs."""
    count: int
    """Producers less consumers, each GPU counted."""


def signed(part: Part, room: int) -> Signed:
    """What the part is to AQUA, on GPUs of `room` MiB of its own."""
    memory = room - part.wants
    return Signed(part.group * memory, part.group if memory > 0 else -part.group if memory < 0 else 0)


def signed_sum(parts: Sequence[Part], room: int) -> Signed:
    """Of a server's parts."""
    each = [signed(part, room) for part in parts]
    return Signed(sum(one.memory for one in each), sum(one.count for one in each))


def aqua_value(servers: Sequence[Sequence[Part]], room: int) -> int:
    """The objective, in MiB, of parts by server."""
    sums = [signed_sum(parts, room) for parts in servers]
    return max(one.memory for one in sums) + PAIR_UNITS * max(one.count for one in sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class AquaLimit:
    """A plan must not be worse than this in AQUA's objective."""

    value: int
    room: int

    def add(self, program: Program, parts: Sequence[Part], servers: Sequence[Mapping[int, Terms]]) -> None:
        """Add it to a program; `servers` says by part and server which terms are 1 where the part is there."""
        program.row(objective_terms(program, parts, servers, self.room), high=(self.value + 0.25) / GIB_UNITS)


def objective_terms(
    program: Program, parts: Sequence[Part], servers: Sequence[Mapping[int, Terms]], room: int
) -> dict[int, float]:
    """The objective in GiB, as terms of a program whose parts are on servers as `servers` says."""
    memory, count = program.variable(low=-math.inf), program.variable(low=-math.inf)
    each = [signed(part, room) for part in parts]
    for server in servers[0]:
        here = [(one, where[server]) for one, where in zip(each, servers, strict=True)]
        program.row(total({memory: -1}, *(scaled(terms, one.memory / GIB_UNITS) for one, terms in here)), high=0)
        program.row(total({count: -1}, *(scaled(terms, one.count) for one, terms in here)), high=0)
    return {memory: 1, count: PAIR_UNITS / GIB_UNITS}

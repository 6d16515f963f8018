"""Which GPU each part goes to, as one exact program: for one server, or for few small ones together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.placement.aqua_objective import AquaLimit
from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import GIB_UNITS, SHARE_UNIT, Part, room_units
from aquahost.placement.program import Program, Solution, Terms, UnsolvedError, scaled, total

NODES = 4000
"""Of each of HiGHS's searches."""
_GRAIN = 0.25 / GIB_UNITS
"""Less than any step of what is counted in MiB."""
_TINY = 1e-6
_LAST_NODES = 100
"""Of the last search, for even memory, on which nothing depends."""


@dataclass(frozen=True, slots=True)
class Reached:
    """One of the things minimised, in turn."""

    value: float
    bound: float
    """No placement that does as well in what goes before it has less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The GPUs of each part, counted over all servers, and how good that is."""

    gpus: tuple[tuple[int, ...], ...]
    """By part."""
    unmet: Reached
    """KV that nobody has memory for, in MiB."""
    worst_unmet: Reached
    """The worst server's."""
    sharing: Reached
    """Parts beyond the first on each GPU."""
    busiest: Reached
    """The busiest GPU's share of time."""


def place(
    parts: Sequence[Part],
    fleet: Fleet,
    *,
    limit: AquaLimit | None = None,
    nodes: int = NODES,
    seconds: float | None = None,
) -> Placement | None:
    """The best placement of all parts; None if there is none. Raises UnsolvedError if the search found none in time.
    `nodes` and `seconds` limit the search for each of these:

    In this order, each without giving up any of what goes before: least unmet demand, of the worst server too, fewest
    parts that share a GPU, least use of the busiest GPU; then even memory.
    """
    return _Placing(parts, fleet, limit).solve(nodes, seconds)


def packs(parts: Sequence[Part], fleet: Fleet, *, nodes: int = NODES) -> bool:
    """Whether the parts fit at all. Raises UnsolvedError if the search could not tell."""
    placing = _Placing(parts, fleet, None, demand=False)
    return placing.program.solve({}, nodes=nodes) is not None


class _Placing:
    """The program's variables and rows. Memory is in GiB, time in parts of a GPU."""

    def __init__(self, parts: Sequence[Part], fleet: Fleet, limit: AquaLimit | None, *, demand: bool = True) -> None:
        self.program = Program()
        self._parts = parts
        self._fleet = fleet
        self._room = room_units(fleet.memory_bytes) / GIB_UNITS
        self._on = [self._places(part, before) for part, before in zip(parts, self._shards_before(), strict=True)]
        self._servers = [self._server_choice(number) for number in range(len(parts))]
        for gpu in range(fleet.all_gpus):
            self._fits(gpu)
        self._apart()
        if limit is not None:
            limit.add(self.program, parts, self._servers)
        if demand:
            self._unmet = [self._demand(server) for server in range(fleet.servers)]

    # -- places ------------------------------------------------------------------------------------------------

    def _shards_before(self) -> list[int]:
        counts = [0]
        for part in self._parts:
            counts.append(counts[-1] + part.group)
        return counts[:-1]

    def _places(self, part: Part, shards_before: int) -> dict[int, int]:
        """A binary for each GPU that it may be on.

        Equal GPUs, and servers, may be numbered in the order in which they come into use: so the first part is on the
        first ones, and so on. That leaves one of many symmetric solutions.
        """
        fleet = self._fleet
        alike = fleet.rates is None and all(one.pin is None for one in self._parts)
        on = {}
        for gpu in range(fleet.all_gpus):
            server, own = divmod(gpu, fleet.gpus)
            if alike and (own >= shards_before + part.group or server > shards_before):
                continue
            on[gpu] = self.program.binary()
        if part.pin is not None and part.pin in on:
            self.program.fix(on[part.pin], 1)
        return on

    def _server_choice(self, number: int) -> dict[int, dict[int, float]]:
        """By server, terms that are 1 where the part is there. Ties a group together."""
        part, on, fleet = self._parts[number], self._on[number], self._fleet
        shares = {}
        for server in range(fleet.servers):
            mine = [variable for gpu, variable in on.items() if gpu // fleet.gpus == server]
            if fleet.servers == 1 or part.group == 1:
                shares[server] = dict.fromkeys(mine, 1.0 / part.group)
                continue
            here = self.program.binary()
            self.program.row(total(mine, {here: -part.group}), 0, 0)
            shares[server] = {here: 1.0}
        self.program.row(total(on.values()), part.group, part.group)
        if part.group > 1:
            for gpu, variable in on.items():
                for other, another in on.items():
                    here = gpu // fleet.gpus == other // fleet.gpus
                    if gpu < other and here and not fleet.linked(gpu % fleet.gpus, other % fleet.gpus):
                        self.program.row({variable: 1, another: 1}, high=1)
        return shares

    def _fits(self, gpu: int) -> None:
        here = [(part, on[gpu]) for part, on in zip(self._parts, self._on, strict=True) if gpu in on]
        self.program.row({variable: part.floor / GIB_UNITS for part, variable in here}, high=self._room)
        self.program.row({variable: part.share / SHARE_UNIT for part, variable in here}, high=1)

    def _apart(self) -> None:
        """Replicas of a model on different GPUs."""
        replicas: dict[str, list[dict[int, int]]] = {}
        for part, on in zip(self._parts, self._on, strict=True):
            if part.need.replicas > 1:
                replicas.setdefault(part.need.name, []).append(on)
        for group in replicas.values():
            for gpu in range(self._fleet.all_gpus):
                self.program.row(total(on[gpu] for on in group if gpu in on), high=1)

    # -- demand ------------------------------------------------------------------------------------------------

    def _demand(self, server: int) -> dict[int, float]:
        """What the server's models lend to each other; returns its unmet demand's terms."""
        fleet, program = self._fleet, self.program
        numbers = range(fleet.gpus)
        flows = {
            (donor, borrower): program.variable()
            for donor in numbers
            for borrower in numbers
            if fleet.lends and fleet.rate(donor, borrower) is not None
        }
        unmet: dict[int, float] = {}
        for number in numbers:
            gpu = server * fleet.gpus + number
            lent = {flow: 1.0 for (donor, _), flow in flows.items() if donor == number}
            borrowed = {flow: 1.0 for (_, borrower), flow in flows.items() if borrower == number}
            unmet |= self._demand_of(gpu, lent, borrowed)
        return unmet

    def _demand_of(self, gpu: int, lent: Terms, borrowed: Terms) -> dict[int, float]:
        program = self.program
        own, unmet_flexible, unmet_remote = (program.variable() for _ in range(3))
        taken, flexible, away, remote = (
            self._sum_on(gpu, name) for name in ("taken", "flexible", "flexible_away", "remote")
        )
        # What a GPU borrows is flexible KV that is not its own, and remote KV; what fits nowhere is unmet.
        program.row(total(taken, {own: 1}, lent), high=self._room)
        program.row(
            total(borrowed, {own: 1, unmet_flexible: 1, unmet_remote: 1}, scaled(flexible, -1), scaled(remote, -1)),
            0,
            0,
        )
        program.row(total({unmet_remote: 1}, scaled(remote, -1)), high=0)
        program.row(total({own: 1}, scaled(flexible, -1)), high=0)
        program.row(total(flexible, scaled(away, -1), {own: -1, unmet_flexible: -1}), high=0)
        return {unmet_flexible: 1.0, unmet_remote: 1.0}

    def _sum_on(self, gpu: int, name: str) -> dict[int, float]:
        pairs = zip(self._parts, self._on, strict=True)
        sizes = {on[gpu]: getattr(part, name) / GIB_UNITS for part, on in pairs if gpu in on}
        return {variable: size for variable, size in sizes.items() if size}

    # -- solving -----------------------------------------------------------------------------------------------

    def solve(self, nodes: int, seconds: float | None) -> Placement | None:
        """Minimise one thing after the other."""
        program = self.program
        worst, busiest, fullest = (program.variable() for _ in range(3))
        for unmet in self._unmet:
            program.row(total(unmet, {worst: -1}), high=0)
        used = []
        for gpu in range(self._fleet.all_gpus):
            used.append(program.binary())
            here = [(part, on[gpu]) for part, on in zip(self._parts, self._on, strict=True) if gpu in on]
            program.row(total({used[-1]: 1}, {variable: -1.0 for _, variable in here}), high=0)
            program.row({variable: part.share / SHARE_UNIT for part, variable in here} | {busiest: -1}, high=0)
            program.row({variable: part.wants / GIB_UNITS for part, variable in here} | {fullest: -1}, high=0)
        goals: list[tuple[Terms, float]] = [
            (total(*self._unmet), _GRAIN),
            ({worst: 1}, _GRAIN),
            (dict.fromkeys(used, -1.0), 0.25),
            ({busiest: 1}, _TINY),
            ({fullest: 1}, _GRAIN),
        ]
        solution: Solution | None = None
        reached: list[Reached] = []
        for number, (terms, grain) in enumerate(goals):
            most = min(nodes, _LAST_NODES) if number == len(goals) - 1 else nodes
            found = self._improved(terms, solution, most, seconds)
            if found is None:
                return None
            solution = found
            program.row(terms, high=solution.value + grain)
            reached.append(Reached(solution.value, solution.bound))
        assert solution is not None
        shards = sum(part.group for part in self._parts)
        lacks = [Reached(one.value * GIB_UNITS, one.bound * GIB_UNITS) for one in reached[:2]]
        return Placement(
            gpus=tuple(tuple(gpu for gpu, variable in on.items() if solution.chosen(variable)) for on in self._on),
            unmet=lacks[0],
            worst_unmet=lacks[1],
            sharing=Reached(shards + reached[2].value, shards + reached[2].bound),
            busiest=reached[3],
        )

    def _improved(self, terms: Terms, known: Solution | None, nodes: int, seconds: float | None) -> Solution | None:
        """The best solution for these terms; the known one where the search finds none in time, or by rounding."""
        try:
            found = self.program.solve(terms, nodes=nodes, seconds=seconds)
        except UnsolvedError:
            if known is None:
                raise
            found = None
        if found is not None or known is None:
            return found
        value = sum(coefficient * known[variable] for variable, coefficient in terms.items())
        return Solution(known.values, value, -math.inf)

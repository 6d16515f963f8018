"""Who lends to whom within a server: demand met by memory that others have to spare, over the best links."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.placement.fleet import Fleet
from aquahost.placement.parts import GIB_UNITS, Part, room_units
from aquahost.placement.program import Program, Solution, UnsolvedError, total

_NODES = 100
_GRAIN = 1e-6
_NEARLY = 0.01
"""MiB by which what a solver calls 5 may be less."""
_ANOTHER_DONOR = 0.05
"""GiB that may be borrowed in vain to have one donor less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """Memory of one GPU for the KV of a part on another one."""

    part: int
    """Its place in the sequence of parts."""
    gpu: int
    """Where the part is, counted within the server, as is `donor`."""
    donor: int
    units: int
    """In MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lending:
    """How one server's models share its memory."""

    own: dict[tuple[int, int], int]
    """By part and GPU, MiB of flexible KV on the part's own GPU."""
    loans: tuple[Loan, ...]
    unmet: dict[tuple[int, int], int]
    """By part and GPU, MiB of KV that nobody has memory for; each rounded up."""
    unmet_units: int
    """Of all together."""


def match_donors(parts: Sequence[Part], gpus: Sequence[Sequence[int]], fleet: Fleet) -> Lending:
    """The lending among parts that are on these GPUs of one server, counted within it.

    In this order: most demand met; where some is not, about the same share of each part's; least memory borrowed, that
    over slow links counted more; few donors.
    """
    return _Matching(parts, gpus, fleet).solve()


class _Matching:
    """The program. Each GPU of a group borrows for itself."""

    def __init__(self, parts: Sequence[Part], gpus: Sequence[Sequence[int]], fleet: Fleet) -> None:
        self._program = Program()
        self._room = room_units(fleet.memory_bytes)
        self._own: dict[tuple[int, int], int] = {}
        self._unmet: dict[tuple[int, int], int] = {}
        self._flows: dict[tuple[int, int, int], int] = {}
        self._slowness: dict[int, float] = {}
        self._share = self._program.variable()
        """The largest part of a demand that is not met."""
        for number, (part, group) in enumerate(zip(parts, gpus, strict=True)):
            for gpu in group:
                self._demand(number, part, gpu, fleet)
        for gpu in range(fleet.gpus):
            taken = sum(part.taken for part, group in zip(parts, gpus, strict=True) if gpu in group)
            own = [variable for (_, one), variable in self._own.items() if one == gpu]
            lent = [variable for (_, _, donor), variable in self._flows.items() if donor == gpu]
            self._program.row(total(own, lent), high=max(0, self._room - taken) / GIB_UNITS)

    def _demand(self, number: int, part: Part, gpu: int, fleet: Fleet) -> None:
        wanted = part.flexible + part.remote
        if not wanted:
            return
        own = self._own[number, gpu] = self._program.variable(high=part.flexible / GIB_UNITS)
        unmet = self._unmet[number, gpu] = self._program.variable()
        rates = {donor: rate for donor in range(fleet.gpus) if (rate := fleet.rate(donor, gpu)) is not None}
        flows = []
        for donor, rate in rates.items() if fleet.lends else ():
            flow = self._flows[number, gpu, donor] = self._program.variable()
            self._slowness[flow] = max(rates.values()) / rate
            flows.append(flow)
        self._program.row(total(flows, [own, unmet]), wanted / GIB_UNITS, wanted / GIB_UNITS)
        self._program.row(total(flows), high=(part.flexible_away + part.remote) / GIB_UNITS)
        self._program.row({unmet: 1.0, self._share: -wanted / GIB_UNITS}, high=0)

    def solve(self) -> Lending:
        program = self._program
        reached: list[Solution] = []
        for terms in (total(self._unmet.values()), {self._share: 1.0}):
            best = program.solve(terms)
            assert best is not None, "to meet nothing is always possible"
            program.row(terms, high=best.value + _GRAIN)
            reached.append(best)
        # The solver may lose even the last solution among the switches, by rounding.
        found = self._few_donors() or program.solve(self._slowness, relaxed=True) or reached[-1]
        return self._read(found, reached[0].value)

    def _few_donors(self) -> Solution | None:
        """With a switch for each donor of each borrower; None if that takes too long."""
        objective = dict(self._slowness)
        for flow in self._flows.values():
            switch = self._program.binary()
            self._program.row({flow: 1.0, switch: -self._room / GIB_UNITS}, high=0)
            objective[switch] = _ANOTHER_DONOR
        try:
            return self._program.solve(objective, gap=1e-3, nodes=_NODES)
        except UnsolvedError:
            return None

    def _read(self, found: Solution, unmet: float) -> Lending:
        def units(variable: int) -> int:
            return math.floor(found[variable] * GIB_UNITS + _NEARLY)

        loans = [
            Loan(part=part, gpu=gpu, donor=donor, units=units(flow))
            for (part, gpu, donor), flow in self._flows.items()
            if units(flow) > 0
        ]
        return Lending(
            own={key: max(0, units(variable)) for key, variable in self._own.items()},
            loans=tuple(loans),
            unmet_units=math.ceil(unmet * GIB_UNITS - _NEARLY),
            unmet={
                key: max(0, math.ceil(found[variable] * GIB_UNITS - _NEARLY)) for key, variable in self._unmet.items()
            },
        )

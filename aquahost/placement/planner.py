"""The planner: every model on GPUs where it fits, so that what some lack others of their server have to lend."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aquahost.placement.aims import Caps, OurAim
from aquahost.placement.aqua_objective import PAIR_UNITS, AquaLimit, aqua_value, signed_sum
from aquahost.placement.aqua_plan import AquaPlan, aqua_plan
from aquahost.placement.assembly import Bounds, assembled, unmet_units
from aquahost.placement.bounds import busiest_bound, sharing_bound, unmet_bound, worst_unmet_bound
from aquahost.placement.division import Division, FitCheck, Report, improved, kinds
from aquahost.placement.first_fit import divide_quickly, place_quickly
from aquahost.placement.fleet import Fleet
from aquahost.placement.gpu_program import NODES, Placement, place
from aquahost.placement.needs import Need
from aquahost.placement.pairs import one_server, within_server
from aquahost.placement.parts import Part, parts_of, room_units
from aquahost.placement.plan import Plan
from aquahost.placement.program import UnsolvedError
from aquahost.placement.shortage import does_not_fit, refuse_impossible

Where = list[tuple[int, ...]]
"""By part, its GPUs, counted over all servers."""
_EXACT = 200
"""Parts times GPUs up to which several servers are one program."""
_LARGEST = 6000
"""Likewise up to which it is tried where nothing else finds a place."""
_MATTERS = 0.005
"""A plan that leaves AQUA's objective must have so much less unmet demand."""
_SERVER_NODES = 300
"""Of each search on one of many servers."""


def make_plan(needs: Sequence[Need], fleet: Fleet, report: Report = lambda what, done, whole: None) -> Plan:
    """The plan; deterministic. Raises ConfigError if there is none, saying what is short and what would help.

    In this order: least unmet demand, on the worst server too, fewest models that share a GPU, least use of the
    busiest GPU. On several servers the plan is never worse than AQUA's in unmet demand, nor in AQUA's own objective
    unless that would cost met demand.
    """
    parts = parts_of(needs)
    refuse_impossible(parts, fleet)
    bounds = Bounds(
        unmet=unmet_bound(parts, fleet),
        worst_unmet=worst_unmet_bound(parts, fleet),
        sharing=sharing_bound(parts, fleet),
        busiest=busiest_bound(parts, fleet),
    )
    planner = _Planner(parts, fleet, bounds, report)
    where = planner.find()
    if where is None:
        raise does_not_fit(parts, fleet)
    return assembled(parts, where, fleet, planner.bounds, planner.peer)


class _Planner:
    """Looks for the places of parts; afterwards `bounds` is what it has proven, `peer` AQUA's plan."""

    def __init__(self, parts: list[Part], fleet: Fleet, bounds: Bounds, report: Report) -> None:
        self.bounds = bounds
        self.peer: AquaPlan | None = None
        self._parts, self._fleet, self._report = parts, fleet, report
        self._server = one_server(fleet)
        self._placed: dict[tuple[object, ...], Where | None] = {}

    def find(self) -> Where | None:
        """The GPUs of each part; None if none were found."""
        if not self._parts:
            return []
        if self._fleet.servers == 1:
            return self._on_one(self._parts, NODES)
        self.peer = aqua_plan(
            self._parts, self._fleet, lambda done, whole: self._report("solving AQUA's objective", done, whole)
        )
        large = len(self._parts) * self._fleet.all_gpus > _EXACT
        where = self._divided() if large else self._together()
        return where if self.peer is None else self._better(where, self.peer)

    def _better(self, where: Where | None, peer: AquaPlan) -> Where | None:
        """AQUA's division, if what could be lent in ours cannot be used after all."""
        unmet = math.inf if where is None else unmet_units(self._parts, where, self._fleet)
        if unmet <= self.bounds.unmet:
            return where
        peers = self._on_servers(peer.division)
        return peers if peers is not None and unmet_units(self._parts, peers, self._fleet) < unmet else where

    # -- one program -------------------------------------------------------------------------------------------

    def _together(self) -> Where | None:
        """All servers by one program, within AQUA's objective unless that costs met demand."""
        within = None
        if self.peer is not None:
            limit = AquaLimit(value=self.peer.value, room=room_units(self._fleet.memory_bytes))
            within = self._program(self._parts, self._fleet, limit, NODES)
            if within is not None and not _less((self.bounds.unmet, self.bounds.worst_unmet), _lacks(within)):
                return list(within.gpus)
        free = self._program(self._parts, self._fleet, None, NODES)
        if free is not None:
            self.bounds = self.bounds.or_better(free)
        best = free if within is None or (free is not None and _less(_lacks(free), _lacks(within))) else within
        return None if best is None else list(best.gpus)

    def _program(self, parts: Sequence[Part], fleet: Fleet, limit: AquaLimit | None, nodes: int) -> Placement | None:
        """None also if the search found none in time."""
        try:
            return place(parts, fleet, limit=limit, nodes=nodes)
        except UnsolvedError:
            return None

    def _on_one(self, parts: Sequence[Part], nodes: int) -> Where | None:
        """On one server, whose bounds hold for the whole if these are all parts."""
        placement = self._program(parts, self._server, None, nodes)
        if placement is None:
            groups = place_quickly(parts, self._server)
            return None if groups is None else [tuple(group) for group in groups]
        if len(parts) == len(self._parts):
            self.bounds = self.bounds.or_better(placement)
        return list(placement.gpus)

    # -- many servers ------------------------------------------------------------------------------------------

    def _divided(self) -> Where | None:
        """First among servers, then on each server's GPUs."""
        division = self._division()
        if division is not None:
            return self._on_servers(division)
        if len(self._parts) * self._fleet.all_gpus > _LARGEST:
            return None
        placement = self._program(self._parts, self._fleet, None, NODES)
        return None if placement is None else list(placement.gpus)

    def _division(self) -> Division | None:
        """Within AQUA's objective, beginning at its plan, unless that costs met demand."""
        aim, fits = OurAim(self._fleet), FitCheck(self._fleet)
        within = None
        if self.peer is not None:
            room = room_units(self._fleet.memory_bytes)
            count = max(signed_sum(parts, room).count for parts in self.peer.division)
            caps = Caps(self.peer.value - PAIR_UNITS * count, count)
            within = self._improved(self.peer.division, OurAim(self._fleet, caps), fits)
            if aim.worth(within)[:3] == (self.bounds.unmet, self.bounds.worst_unmet, self.bounds.sharing):
                return within
        quick = divide_quickly(self._parts, self._fleet)
        if quick is None:
            return within
        free = self._improved(quick, aim, fits)
        if within is None or _less(aim.worth(free)[:2], aim.worth(within)[:2]):
            return free
        return free if self._keeps_limit(free) and aim.worth(free) < aim.worth(within) else within

    def _improved(self, division: Division, aim: OurAim, fits: FitCheck) -> Division:
        return improved(
            division, aim, fits, self._fleet, lambda done, whole: self._report("dividing among servers", done, whole)
        )

    def _keeps_limit(self, division: Division) -> bool:
        return self.peer is None or aqua_value(division, room_units(self._fleet.memory_bytes)) <= self.peer.value

    def _on_servers(self, division: Division) -> Where | None:
        """Place each server's parts; equal servers are placed alike."""
        found: dict[tuple[str, int], tuple[int, ...]] = {}
        for server, there in enumerate(division):
            self._report("placing on GPUs", server, len(division))
            ordered = sorted((within_server(part, self._fleet) for part in there), key=lambda part: repr(part.kind))
            key = kinds(ordered)
            if key not in self._placed:
                self._placed[key] = self._on_one(ordered, _SERVER_NODES) if ordered else []
            groups = self._placed[key]
            if groups is None:
                return None
            for part, gpus in zip(ordered, groups, strict=True):
                found[part.need.name, part.replica] = tuple(server * self._fleet.gpus + gpu for gpu in gpus)
        self._report("placing on GPUs", len(division), len(division))
        return [found[part.need.name, part.replica] for part in self._parts]


def _lacks(placement: Placement) -> tuple[float, float]:
    return placement.unmet.value, placement.worst_unmet.value


def _less(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether the first number that differs by more than matters is less."""
    for mine, theirs in zip(one, other, strict=True):
        if abs(mine - theirs) > max(1.0, _MATTERS * theirs):
            return mine < theirs
    return False

"""The planner: every model on GPUs where it fits, so that what some lack others of their server have to lend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from aquahost.placement.aims import Caps, OurAim
from aquahost.placement.aqua_objective import PAIR_UNITS, AquaLimit, aqua_value, signed_sum
from aquahost.placement.aqua_plan import AquaPlan, aqua_plan
from aquahost.placement.assembly import Bounds, Peer, assembled, divided, unmet_units
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
from aquahost.placement.shortage import does_not_fit, not_found, refuse_impossible
from aquahost.units import MIB

Where = list[tuple[int, ...]]
"""By part, its GPUs, counted over all servers."""
_EXACT = 200
"""Parts times GPUs up to which several servers are one program."""
_LARGEST = 6000
"""Likewise up to which it is tried where nothing else finds a place."""
_MATTERS = 0.005
"""A plan that leaves AQUA's objective must meet so much more of the demand."""
_SERVER_NODES = 300
"""Of each search on one of many servers."""


def make_plan(
    needs: Sequence[Need],
    fleet: Fleet,
    report: Report = lambda what, done, whole: None,
    *,
    search_s: float | None = None,
) -> Plan:
    """The plan; deterministic, unless `search_s` ends each search for places after so many seconds. Raises ConfigError
    if there is none, saying what is short and what would help, or if the searches found none, saying that.

    In this order: least unmet demand, on the worst server too, fewest models that share a GPU, least use of the
    busiest GPU. On several servers the plan never leaves more demand unmet than AQUA's plan that is shown beside it.
    "Never worse than AQUA's published objective solved on the same input" is kept, before all but unmet demand,
    wherever that costs no more than 0.5 % of the met demand; where it costs more, the plan is worse by that objective.
    """
    parts = parts_of(needs)
    refuse_impossible(parts, fleet)
    bounds = Bounds(
        unmet=unmet_bound(parts, fleet),
        worst_unmet=worst_unmet_bound(parts, fleet),
        sharing=sharing_bound(parts, fleet),
        busiest=busiest_bound(parts, fleet),
    )
    planner = _Planner(parts, fleet, bounds, report, search_s)
    where = planner.find()
    if where is None:
        raise does_not_fit(parts, fleet) if planner.infeasible else not_found()
    return assembled(parts, where, fleet, planner.bounds, planner.peer)


class _Planner:
    """Looks for the places of parts; afterwards `bounds` is what it has proven, `peer` AQUA's plan, and `infeasible`
    whether it is proven that there are no places."""

    def __init__(self, parts: list[Part], fleet: Fleet, bounds: Bounds, report: Report, search_s: float | None) -> None:
        self.bounds = bounds
        self.peer: Peer | None = None
        self.infeasible = False
        self._search_s = search_s
        self._parts, self._fleet, self._report = parts, fleet, report
        self._met = sum(part.group * (part.need.kv_wanted_bytes - part.need.hopeless_bytes) for part in parts) // MIB
        self._server = one_server(fleet)
        self._placed: dict[tuple[object, ...], Where | None] = {}

    def find(self) -> Where | None:
        """The GPUs of each part; None if none were found."""
        if not self._parts:
            return []
        if self._fleet.servers == 1:
            placement = self._whole()
            return self._quickly() if placement is None else list(placement.gpus)
        peer = aqua_plan(
            self._parts, self._fleet, lambda done, whole: self._report("solving AQUA's objective", done, whole)
        )
        self.peer = None if peer is None else self._placed_peer(peer)
        large = len(self._parts) * self._fleet.all_gpus > _EXACT
        where = self._divided() if large else self._together()
        return where if self.peer is None else self._better(where, self.peer)

    def _placed_peer(self, peer: AquaPlan) -> Peer | None:
        """AQUA's plan with each shard alone on a GPU; None where pins or links leave no such places."""
        room = room_units(self._fleet.memory_bytes)
        where = self._on_servers([[replace(part, floor=room) for part in there] for there in peer.division])
        return None if where is None else Peer(peer, where, unmet_units(self._parts, where, self._fleet))

    def _better(self, where: Where | None, peer: Peer) -> Where | None:
        """AQUA's division, if what could be lent in ours cannot be used after all, or if it is not worth leaving."""
        unmet = math.inf if where is None else unmet_units(self._parts, where, self._fleet)
        keeps = where is not None and self._keeps_limit(divided(self._parts, where, self._fleet))
        if keeps and unmet <= min(self.bounds.unmet, peer.unmet):
            return where
        peers, lack = peer.where, peer.unmet
        shared = self._on_servers(peer.plan.division)
        if shared is not None and (less := unmet_units(self._parts, shared, self._fleet)) <= lack:
            peers, lack = shared, less
        return peers if (lack < unmet if keeps else not self._costs(lack, unmet)) else where

    def _costs(self, unmet: float, least: float) -> bool:
        """Whether to leave so much unmet, and not only `least`, would cost more than AQUA's objective is worth."""
        return unmet - least > max(1.0, _MATTERS * (self._met - least))

    # -- one program -------------------------------------------------------------------------------------------

    def _together(self) -> Where | None:
        """All servers by one program, within AQUA's objective unless that costs met demand."""
        within = None
        if self.peer is not None:
            limit = AquaLimit(value=self.peer.plan.value, room=room_units(self._fleet.memory_bytes))
            within = self._program(self._parts, self._fleet, limit, NODES)
            if within is not None and not self._costs(within.unmet.value, self.bounds.unmet):
                return list(within.gpus)
        free = self._whole()
        if within is None or (free is not None and self._costs(within.unmet.value, free.unmet.value)):
            return self._quickly() if free is None else list(free.gpus)
        return list(within.gpus)

    def _whole(self) -> Placement | None:
        """All parts by one program, which proves bounds, or that there are no places."""
        try:
            placement = place(self._parts, self._fleet, seconds=self._search_s)
        except UnsolvedError:
            return None
        if placement is None:
            self.infeasible = True
        else:
            self.bounds = self.bounds.or_better(placement)
        return placement

    def _program(self, parts: Sequence[Part], fleet: Fleet, limit: AquaLimit | None, nodes: int) -> Placement | None:
        """None also if the search found none in time."""
        try:
            return place(parts, fleet, limit=limit, nodes=nodes, seconds=self._search_s)
        except UnsolvedError:
            return None

    def _on_one(self, parts: Sequence[Part]) -> Where | None:
        """On one of many servers."""
        placement = self._program(parts, self._server, None, _SERVER_NODES)
        if placement is not None:
            return list(placement.gpus)
        groups = place_quickly(parts, self._server)
        return None if groups is None else [tuple(group) for group in groups]

    def _quickly(self) -> Where | None:
        """All in a simple way, where the search found none."""
        if self.infeasible:
            return None
        alone = self._fleet.servers == 1
        division = [self._parts] if alone else divide_quickly(self._parts, self._fleet)
        return None if division is None else self._on_servers(division)

    # -- many servers ------------------------------------------------------------------------------------------

    def _divided(self) -> Where | None:
        """First among servers, then on each server's GPUs."""
        division = self._division()
        if division is not None:
            return self._on_servers(division)
        if len(self._parts) * self._fleet.all_gpus > _LARGEST:
            return None
        placement = self._whole()
        return None if placement is None else list(placement.gpus)

    def _division(self) -> Division | None:
        """Within AQUA's objective, beginning at its plan, unless that costs met demand."""
        aim, fits = OurAim(self._fleet), FitCheck(self._fleet)
        within = None
        if self.peer is not None:
            room = room_units(self._fleet.memory_bytes)
            peer = self.peer.plan
            count = max(signed_sum(parts, room).count for parts in peer.division)
            caps = Caps(peer.value - PAIR_UNITS * count, count)
            within = self._improved(peer.division, OurAim(self._fleet, caps), fits)
            if aim.worth(within)[:3] == (self.bounds.unmet, self.bounds.worst_unmet, self.bounds.sharing):
                return within
        quick = divide_quickly(self._parts, self._fleet)
        if quick is None:
            return within
        free = self._improved(quick, aim, fits)
        if within is None or self._costs(aim.worth(within)[0], aim.worth(free)[0]):
            return free
        return free if self._keeps_limit(free) and aim.worth(free) < aim.worth(within) else within

    def _improved(self, division: Division, aim: OurAim, fits: FitCheck) -> Division:
        return improved(
            division, aim, fits, self._fleet, lambda done, whole: self._report("dividing among servers", done, whole)
        )

    def _keeps_limit(self, division: Division) -> bool:
        return self.peer is None or aqua_value(division, room_units(self._fleet.memory_bytes)) <= self.peer.plan.value

    def _on_servers(self, division: Division) -> Where | None:
        """Place each server's parts; equal servers are placed alike."""
        found: dict[tuple[str, int], tuple[int, ...]] = {}
        for server, there in enumerate(division):
            self._report("placing on GPUs", server, len(division))
            ordered = sorted((within_server(part, self._fleet) for part in there), key=lambda part: repr(part.kind))
            key = kinds(ordered)
            if key not in self._placed:
                self._placed[key] = self._on_one(ordered) if ordered else []
            groups = self._placed[key]
            if groups is None:
                return None
            for part, gpus in zip(ordered, groups, strict=True):
                found[part.need.name, part.replica] = tuple(server * self._fleet.gpus + gpu for gpu in gpus)
        self._report("placing on GPUs", len(division), len(division))
        return [found[part.need.name, part.replica] for part in self._parts]

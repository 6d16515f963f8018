"""From places to a plan: lending matched on every server, and all figures taken from what came out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aquahost.placement.aqua_objective import aqua_value
from aquahost.placement.aqua_plan import AquaPlan
from aquahost.placement.donors import Lending, match_donors
from aquahost.placement.fleet import Fleet
from aquahost.placement.gpu_program import Placement
from aquahost.placement.pairs import one_server
from aquahost.placement.parts import Part, room_units
from aquahost.placement.plan import AquaComparison, Goal, PlacedModel, Plan, PlannedGpu, PlannedLoan
from aquahost.units import MIB

Places = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What no plan has less of; in MiB, parts, and parts of a GPU's time."""

    unmet: float
    worst_unmet: float
    sharing: float
    busiest: float

    def or_better(self, placement: Placement) -> Bounds:
        """These, or what a program has proven beyond them."""
        return Bounds(
            unmet=max(self.unmet, placement.unmet.bound),
            worst_unmet=max(self.worst_unmet, placement.worst_unmet.bound),
            sharing=max(self.sharing, placement.sharing.bound),
            busiest=max(self.busiest, placement.busiest.bound),
        )


@dataclass(frozen=True, slots=True)
class Peer:
    """AQUA's plan, a shard on a GPU."""

    plan: AquaPlan
    where: list[tuple[int, ...]]
    """By part, its GPUs."""
    unmet: int
    """Demand that it leaves unmet if it could lend many to many, in MiB."""


@dataclass(frozen=True, slots=True)
class _Server:
    """One server's parts, their GPUs counted within it, and their lending."""

    numbers: list[int]
    gpus: list[tuple[int, ...]]
    lending: Lending


def unmet_units(parts: Sequence[Part], where: Places, fleet: Fleet) -> int:
    """Unmet demand of parts on these GPUs, in MiB."""
    return sum(server.lending.unmet_units for server in _servers(parts, where, fleet))


def divided(parts: Sequence[Part], where: Places, fleet: Fleet) -> list[list[Part]]:
    """Parts on these GPUs, by server."""
    servers: list[list[Part]] = [[] for _ in range(fleet.servers)]
    for part, gpus in zip(parts, where, strict=True):
        servers[gpus[0] // fleet.gpus].append(part)
    return servers


def assembled(parts: Sequence[Part], where: Places, fleet: Fleet, bounds: Bounds, peer: Peer | None) -> Plan:
    """The plan of parts on these GPUs."""
    servers = list(_servers(parts, where, fleet))
    models = [
        _model(parts[number], where[number], server, number, fleet) for server in servers for number in server.numbers
    ]
    order = {(part.need.name, part.replica): place for place, part in enumerate(parts)}
    models.sort(key=lambda model: order[model.name, model.replica])
    loans = tuple(_loans(parts, servers, fleet))
    gpus = tuple(_gpu(gpu, models, loans, fleet) for gpu in range(fleet.all_gpus))
    unmet = [server.lending.unmet_units for server in servers]
    hopeless_bytes = sum(part.group * part.need.hopeless_bytes for part in parts)
    sharing = sum(max(0, len(gpu.models) - 1) for gpu in gpus)
    return Plan(
        servers=fleet.servers,
        gpus_each=fleet.gpus,
        memory_bytes=fleet.memory_bytes,
        models=tuple(models),
        gpus=gpus,
        loans=loans,
        demand_bytes=sum(part.group * part.need.kv_wanted_bytes for part in parts),
        unmet_bytes=sum(unmet) * MIB + hopeless_bytes,
        goals=(
            _goal("unmet demand, bytes", sum(unmet) * MIB, bounds.unmet * MIB),
            _goal("the worst server's, bytes", max(unmet) * MIB, bounds.worst_unmet * MIB),
            _goal("models that share a GPU", sharing, bounds.sharing),
            _goal("the busiest GPU's utilisation", max(min(1.0, gpu.utilisation) for gpu in gpus), bounds.busiest),
        ),
        aqua=_comparison(parts, where, fleet, sum(unmet), peer),
    )


def _goal(name: str, value: float, bound: float) -> Goal:
    """Bounds are taken from sizes rounded up, and may so be a little above what is reached."""
    return Goal(name=name, value=value, bound=min(value, bound))


def _servers(parts: Sequence[Part], where: Places, fleet: Fleet) -> Iterator[_Server]:
    alone = one_server(fleet)
    for server in range(fleet.servers):
        numbers = [number for number, gpus in enumerate(where) if gpus[0] // fleet.gpus == server]
        gpus = [tuple(gpu % fleet.gpus for gpu in where[number]) for number in numbers]
        yield _Server(numbers, gpus, match_donors([parts[number] for number in numbers], gpus, alone))


def _model(part: Part, gpus: tuple[int, ...], server: _Server, number: int, fleet: Fleet) -> PlacedModel:
    place, need = server.numbers.index(number), part.need
    lending = server.lending
    own = min((lending.own.get((place, gpu % fleet.gpus), 0) for gpu in gpus), default=0)
    unmet = max((lending.unmet.get((place, gpu % fleet.gpus), 0) for gpu in gpus), default=0)
    borrowed = min(
        sum(loan.units for loan in lending.loans if loan.part == place and loan.gpu == gpu % fleet.gpus) for gpu in gpus
    )
    kept_bytes = need.taken_bytes - need.weights_bytes - need.peak_bytes
    return PlacedModel(
        name=need.name,
        replica=part.replica,
        server=gpus[0] // fleet.gpus,
        gpus=gpus,
        pinned=part.pin is not None,
        weights_bytes=need.weights_bytes,
        peak_bytes=need.peak_bytes,
        kv_wanted_bytes=need.kv_wanted_bytes,
        kv_own_bytes=kept_bytes + own * MIB,
        kv_borrowed_bytes=borrowed * MIB,
        kv_unmet_bytes=unmet * MIB + need.hopeless_bytes,
        utilisation=need.utilisation,
        live_prompts=need.live_prompts,
        residence_s=need.residence_s,
    )


def _loans(parts: Sequence[Part], servers: Sequence[_Server], fleet: Fleet) -> Iterator[PlannedLoan]:
    for number, server in enumerate(servers):
        first = number * fleet.gpus
        for loan in server.lending.loans:
            part = parts[server.numbers[loan.part]]
            yield PlannedLoan(
                model=part.need.name,
                replica=part.replica,
                gpu=first + loan.gpu,
                donor=first + loan.donor,
                size_bytes=loan.units * MIB,
                bytes_per_s=fleet.rate(loan.donor, loan.gpu) or 0.0,
            )


def _gpu(gpu: int, models: Sequence[PlacedModel], loans: Sequence[PlannedLoan], fleet: Fleet) -> PlannedGpu:
    here = [model for model in models if gpu in model.gpus]
    weights_bytes = sum(model.weights_bytes for model in here)
    peak_bytes = sum(model.peak_bytes for model in here)
    kv_bytes = sum(model.kv_own_bytes for model in here)
    lent_bytes = sum(loan.size_bytes for loan in loans if loan.donor == gpu)
    return PlannedGpu(
        gpu=gpu,
        server=gpu // fleet.gpus,
        models=tuple(model.name for model in here),
        weights_bytes=weights_bytes,
        peak_bytes=peak_bytes,
        kv_bytes=kv_bytes,
        lent_bytes=lent_bytes,
        spare_bytes=max(0, fleet.memory_bytes - weights_bytes - peak_bytes - kv_bytes - lent_bytes),
        borrowed_bytes=sum(loan.size_bytes for loan in loans if loan.gpu == gpu),
        utilisation=sum(model.utilisation for model in here),
    )


def _comparison(
    parts: Sequence[Part], where: Places, fleet: Fleet, unmet: int, peer: Peer | None
) -> AquaComparison | None:
    if peer is None:
        return None
    return AquaComparison(
        aqua_bytes=peer.plan.value * MIB,
        aqua_bound_bytes=peer.plan.bound * MIB,
        ours_bytes=aqua_value(divided(parts, where, fleet), room_units(fleet.memory_bytes)) * MIB,
        aqua_unmet_bytes=peer.unmet * MIB,
        ours_unmet_bytes=unmet * MIB,
    )

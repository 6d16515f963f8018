"""The servers that are planned for, and the profiles of models on their GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aquahost.cli.doctor.probe import ProbeError, probe
from aquahost.cli.doctor.report import HOST, Hardware
from aquahost.cli.output import say
from aquahost.config.settings import Kind, Settings
from aquahost.errors import ConfigError, StartError
from aquahost.placement.fleet import Fleet, fleet_of
from aquahost.profiler.gpu_names import EMULATED, sheet_name
from aquahost.profiler.lookup import measured_profiles, profiles_of
from aquahost.profiles.data_sheets import SHEETS, parse_node
from aquahost.profiles.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNode:
    """What is planned for."""

    name: str
    """For people."""
    fleet: Fleet
    profiles: Mapping[str, Profile]


def planned_node(settings: Settings, gpus: str | None, servers: int, env: Mapping[str, str]) -> PlannedNode:
    """The node that `gpus` names, or this machine. Raises ConfigError for an unknown GPU or a model without config or
    profile, and StartError where this machine cannot be looked at or a profile cannot be kept."""
    headroom_bytes, lends = settings.leasing.headroom_bytes, settings.leasing.enabled
    if gpus is not None:
        node = parse_node(gpus)
        fleet = fleet_of(node, servers=servers, headroom_bytes=headroom_bytes, lends=lends)
        return PlannedNode(name=node.name, fleet=fleet, profiles=profiles_on(settings, node.sheet.name))
    hardware = None if settings.host.driver == EMULATED else _probed(settings, env)
    if hardware is None or hardware.driver == EMULATED:
        emulated = settings.host.emulated
        name, count, memory_bytes, rates = EMULATED, emulated.gpus, emulated.gpu_bytes, None
    else:
        name, count, memory_bytes, rates = _looked_at(hardware)
    fleet = Fleet(
        servers=servers,
        gpus=count,
        memory_bytes=max(0, memory_bytes - headroom_bytes),
        link_bytes_per_s=settings.host.emulated.peer_bytes_per_s if rates is None and count > 1 else None,
        rates=rates,
        lends=lends,
    )
    return PlannedNode(name=f"{count}x{name}", fleet=fleet, profiles=profiles_on(settings, name))


def _probed(settings: Settings, env: Mapping[str, str]) -> Hardware:
    try:
        return probe(settings.host, env)
    except ProbeError as error:
        if settings.host.driver != "cuda":
            raise
        raise ConfigError(
            "host.driver is cuda, and no GPU of this machine answers: say which GPUs are to be planned for, like "
            f"--gpus 8xH100 ({error})"
        ) from error


def _looked_at(hardware: Hardware) -> tuple[str, int, int, dict[tuple[int, int], float]]:
    """Name, number and memory of this machine's GPUs, and the rates of their links."""
    usable = [gpu for gpu in hardware.gpus if gpu.lost is None]
    if not usable:
        raise StartError("this machine has no GPU; plan for others with --gpus")
    names = {gpu.name for gpu in usable}
    if len(names) > 1:
        say(f"this machine's GPUs differ ({', '.join(sorted(names))}); the plan takes all for the smallest")
    smallest = min(usable, key=lambda gpu: gpu.total_bytes)
    rates = {
        (link.source, link.target): link.bytes_per_s
        for link in hardware.links
        if HOST not in (link.source, link.target) and link.bytes_per_s
    }
    return sheet_name(smallest.name, smallest.total_bytes), len(hardware.gpus), smallest.total_bytes, rates


def profiles_on(settings: Settings, gpu: str) -> dict[str, Profile]:
    """What all models but toys cost on a GPU: stored profiles; where there is a data sheet of it, the others are worked
    out. Raises ConfigError for a model without config or profile, and StartError where a profile cannot be kept."""
    if gpu in SHEETS:
        return profiles_of(
            settings.models,
            SHEETS[gpu],
            step_tokens=settings.scheduler.step_tokens,
            max_batch=settings.scheduler.max_batch,
            progress=say,
        )
    found = measured_profiles(settings.models, gpu, settings.scheduler)
    for name, model in settings.models.items():
        if model.kind is not Kind.TOY and name not in found:
            where = "this machine" if gpu == EMULATED else gpu
            raise ConfigError(
                f"models.{name}: there is no profile of it on {where}; measure it: aquahost profile {name}; "
                "or name GPUs whose data sheet is known, like --gpus 8xH100"
            )
    return found

"""Which GPUs hold which model of a simulated node: the planner says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aquahost.config.settings import Settings
from aquahost.errors import ConfigError
from aquahost.placement.fleet import Fleet
from aquahost.placement.needs import needs_of
from aquahost.placement.plan import Plan
from aquahost.placement.planner import make_plan
from aquahost.profiles.profile import Profile
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine


def placed(settings: Settings, profiles: Mapping[str, Profile], machine: Machine) -> list[Hosted]:
    """Every replica of every model with a profile, in the order of their entries.

    Models whose traffic takes more time than the GPUs have are placed as if that did not matter: what comes of it is
    what a simulation shows. Raises ConfigError where their memory does not fit, saying what is short.
    """
    plan = _plan(settings, profiles, machine)
    return [
        Hosted(name=one.name, settings=settings.models[one.name], profile=profiles[one.name], gpus=one.gpus)
        for one in plan.models
    ]


def _plan(settings: Settings, profiles: Mapping[str, Profile], machine: Machine) -> Plan:
    models = {name: model for name, model in settings.models.items() if name in profiles}
    needs = needs_of(models, profiles, settings.scheduler)
    fleet = _fleet(settings, machine)
    try:
        return make_plan(needs, fleet)
    except ConfigError:
        return make_plan([replace(need, utilisation=0.0) for need in needs], fleet)


def _fleet(settings: Settings, machine: Machine) -> Fleet:
    count = len(machine.gpu_bytes)
    rate = min(machine.wiring.ways(0, 1).values()) if count > 1 else None
    return Fleet(
        servers=1,
        gpus=count,
        memory_bytes=max(0, min(machine.gpu_bytes) - settings.leasing.headroom_bytes),
        link_bytes_per_s=rate,
        lends=settings.leasing.enabled,
    )

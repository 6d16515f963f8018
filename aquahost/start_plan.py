"""Where the models that the daemon loads at its start should go, as the planner sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aquahost.config.settings import Kind, Settings
from aquahost.daemon.gpu_watch import GpuReading
from aquahost.placement.preference import Preference
from aquahost.profiler.lookup import measured_profiles

_SEARCH_S = 1.0
"""A daemon that is stopped waits for the search to end."""


def planned_gpus(settings: Settings, gpu_name: str, readings: Sequence[GpuReading]) -> Mapping[str, Preference]:
    """By model; empty where there is nothing to choose, a GPU is lost, or a model was not measured on such GPUs.

    Blocks: it reads the stored profiles, imports SciPy and searches for `_SEARCH_S` per goal at most, seconds in all.
    Raises ConfigError where the models do not fit all at once.
    """
    models = {
        name: model.model_copy(update={"replicas": 1})
        for name, model in settings.models.items()
        if model.autoload and model.kind is not Kind.TOY and model.tensor_parallel == 1
    }
    free_to_choose = any(model.gpu == "auto" for model in models.values())
    if not free_to_choose or not readings or any(reading.lost is not None for reading in readings):
        return {}
    profiles = measured_profiles(models, gpu_name, settings.scheduler)
    if len(profiles) < len(models):
        return {}
    from aquahost.placement.fleet import Fleet
    from aquahost.placement.needs import needs_of
    from aquahost.placement.planner import make_plan
    from aquahost.placement.preference import preferences

    needs = needs_of(models, profiles, settings.scheduler)
    least_bytes = min(reading.free_bytes for reading in readings) - settings.leasing.headroom_bytes
    fleet = Fleet(
        servers=1,
        gpus=len(readings),
        memory_bytes=max(0, least_bytes),
        # Every two GPUs alike: the links are tested while this is decided.
        link_bytes_per_s=settings.host.emulated.peer_bytes_per_s if len(readings) > 1 else None,
        lends=settings.leasing.enabled,
    )
    return preferences(make_plan(needs, fleet, search_s=_SEARCH_S), needs)

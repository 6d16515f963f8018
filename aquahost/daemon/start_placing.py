"""The planner's advice at the daemon's start: which GPU each model should go to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from aquahost.config.settings import ModelSettings
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_watch import GpuReading
from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import AquahostError, LoadError
from aquahost.events import EventKind
from aquahost.placement.preference import Preference

logger = logging.getLogger(__name__)

PlanGpus = Callable[[Sequence[GpuReading]], Mapping[str, Preference]]
"""Says where models should go; may block, so it is called in a thread, which should end within seconds: the process
waits for it at its end. Raises ConfigError where they do not fit."""
LONGEST_PLAN_S = 5.0
"""How long models wait for the plan before they load without it."""


def check_hostable(settings: ModelSettings) -> None:
    """Raise LoadError for an entry that can be planned and simulated, but not hosted."""
    if settings.tensor_parallel > 1:
        raise LoadError(
            f"tensor_parallel: {settings.tensor_parallel} is for `aquahost plan` and `aquahost simulate`; the daemon "
            "loads models of one GPU only: set it to 1 in models.yaml"
        )


async def advise(
    models: Mapping[str, HostedModel],
    plan: PlanGpus | None,
    readings: Sequence[GpuReading],
    events: EventLog,
    *,
    limit_s: float = LONGEST_PLAN_S,
) -> None:
    """Note with each model where it should go; without a plan within `limit_s` they go where most is free. Says so.

    A plan that comes later is dropped.
    """
    for model in models.values():
        if model.settings.replicas > 1:
            said = f"{model.name} is hosted once: replicas: {model.settings.replicas} is for plan and simulate"
            logger.warning(said)
            events.add(EventKind.MODELS_PLACED, said, model=model.name)
    if plan is None:
        return
    try:
        advice = await asyncio.wait_for(asyncio.to_thread(plan, readings), limit_s)
    except TimeoutError:
        _go_without(f"it takes longer than {limit_s:g} s", events)
        return
    except Exception as error:  # whatever it is, models must load
        known = isinstance(error, AquahostError)
        why = str(error).splitlines()[0] if known else f"{type(error).__name__}: {error}"
        _go_without(why, events, failed=not known)
        return
    chosen = []
    for name, preference in advice.items():
        models[name].preference = preference
        if models[name].settings.gpu == "auto":
            chosen.append(f"{name} on GPU {preference.gpu}")
    if chosen:
        logger.info("planned: %s", ", ".join(chosen))
        events.add(EventKind.MODELS_PLACED, f"planned by their profiles: {', '.join(chosen)}")


def _go_without(why: str, events: EventLog, *, failed: bool = False) -> None:
    logger.warning("no plan for the GPUs: %s", why, exc_info=failed)
    events.add(EventKind.MODELS_PLACED, f"no plan: each model goes where most memory is free ({why})")

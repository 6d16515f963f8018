"""Profiles worked out from a model's config and a GPU's data sheet. Imports torch and the models' libraries."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.daemon.wall_time import utc_now
from aquahost.profiler.gated_costs import gated_costs
from aquahost.profiler.gated_shape import read_gated_shape
from aquahost.profiler.language_costs import language_costs
from aquahost.profiler.language_shape import read_language_shape
from aquahost.profiles.data_sheets import DataSheet
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile


def work_out(
    folder: Path, settings: ModelSettings, sheet: DataSheet, scheduler: SchedulerSettings, *, key: str
) -> Profile:
    """The profile of the model whose config lies in `folder`. Raises LoadError if it can't be used or served."""
    costs: LanguageCosts | GatedCosts
    if settings.kind is Kind.LLM:
        shape = read_language_shape(folder, settings)
        parameters, dtype = shape.parameters, shape.dtype
        costs = language_costs(
            shape,
            sheet,
            group=settings.tensor_parallel,
            step_tokens=scheduler.step_tokens,
            max_batch=scheduler.max_batch,
        )
    else:
        passes = read_gated_shape(folder, settings)
        parameters, dtype = passes.parameters, passes.dtype
        costs = gated_costs(passes, sheet)
    return Profile(
        source=settings.source,
        key=key,
        gpu=sheet.name,
        dtype=dtype,
        group=settings.tensor_parallel,
        measured=False,
        at=utc_now(),
        parameters=parameters,
        costs=costs,
    )

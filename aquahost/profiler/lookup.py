"""The profiles of a models.yaml: those that are stored, else worked out from configs and stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.errors import ConfigError, LoadError
from aquahost.profiler import store
from aquahost.profiler.config_files import config_folder, known_config_folder
from aquahost.profiler.keys import analytic_key, measured_key
from aquahost.profiles.data_sheets import DataSheet
from aquahost.profiles.profile import Profile

logger = logging.getLogger(__name__)


def profiles_of(
    models: Mapping[str, ModelSettings],
    sheet: DataSheet,
    *,
    step_tokens: int,
    max_batch: int,
    progress: Callable[[str], None],
) -> dict[str, Profile]:
    """A profile of each entry on the GPU of `sheet`; of those of kind "toy" none.

    A stored one is taken, measured on that GPU if there is one; else it is worked out, which takes a second for a
    language model and several for others, and stored. `progress` is told which entry is worked out. Raises ConfigError
    naming the entry whose config is missing or can't be served, and StartError if the store can't be written.
    """
    scheduler = SchedulerSettings(step_tokens=step_tokens, max_batch=max_batch)
    wanted = {name: settings for name, settings in models.items() if settings.kind is not Kind.TOY}
    found = measured_profiles(wanted, sheet.name, scheduler)
    return {
        name: found.get(name) or _analytic(name, settings, sheet, scheduler, progress)
        for name, settings in wanted.items()
    }


def measured_profiles(
    models: Mapping[str, ModelSettings], gpu_name: str, scheduler: SchedulerSettings | None = None
) -> dict[str, Profile]:
    """The stored profiles that were measured on this GPU, of entries as they are now; others are left out, and those
    whose config files cannot be read, with a warning.

    `scheduler`: that of models.yaml, since figures depend on `step_tokens` and `max_batch`. Imports no torch.
    """
    scheduler = scheduler or SchedulerSettings()
    stored = [profile for profile in store.all_profiles() if profile.measured and profile.gpu == gpu_name]
    found: dict[str, Profile] = {}
    for name, settings in models.items():
        of_source = [profile for profile in stored if profile.source == settings.source]
        if not of_source:
            continue
        try:
            folder = known_config_folder(settings)
            if folder is None:
                continue
            key = measured_key(folder, settings, step_tokens=scheduler.step_tokens, max_batch=scheduler.max_batch)
        except OSError as error:
            logger.warning("the profiles of %s are left out: its config cannot be read: %s", name, error)
            continue
        newest = max((profile for profile in of_source if profile.key == key), key=lambda one: one.at, default=None)
        if newest is not None:
            found[name] = newest
    return found


def analytic_profile(name: str, settings: ModelSettings, sheet: DataSheet, scheduler: SchedulerSettings) -> Profile:
    """The profile of an entry worked out anew; not stored. Raises ConfigError as `profiles_of` does."""
    if settings.kind is Kind.TOY:
        raise ConfigError(f"{name}: a toy has no costs to work out; its step_s says what it takes")
    folder = config_folder(name, settings)
    key = _key(name, folder, settings, sheet, scheduler)
    try:
        from aquahost.profiler.analytic import work_out

        return work_out(folder, settings, sheet, scheduler, key=key)
    except LoadError as error:
        raise ConfigError(f"{name}: {error}") from error


def _analytic(
    name: str,
    settings: ModelSettings,
    sheet: DataSheet,
    scheduler: SchedulerSettings,
    progress: Callable[[str], None],
) -> Profile:
    key = _key(name, config_folder(name, settings), settings, sheet, scheduler)
    for stored in store.all_profiles():
        if (stored.source, stored.gpu, stored.key, stored.measured) == (settings.source, sheet.name, key, False):
            return stored
    progress(f"working out what {name} costs on {sheet.name}")
    profile = analytic_profile(name, settings, sheet, scheduler)
    store.save(profile)
    return profile


def _key(name: str, folder: Path, settings: ModelSettings, sheet: DataSheet, scheduler: SchedulerSettings) -> str:
    try:
        return analytic_key(folder, settings, sheet, step_tokens=scheduler.step_tokens, max_batch=scheduler.max_batch)
    except OSError as error:
        raise ConfigError(f"{name}: its config cannot be read: {error}") from error

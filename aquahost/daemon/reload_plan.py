"""What has changed between two models.yaml, and what is to be done about it. Pure: settings in, decisions out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aquahost.config.mistakes import KeyPath, dotted
from aquahost.config.schema import is_secret
from aquahost.config.settings import HostSettings, ModelSettings, Settings, TenantSettings
from aquahost.messages.reloaded import Change, Effect

HOST_AT_ONCE = frozenset({"admin_key", "drain_s"})
"""Keys of `host` that a running daemon takes over; any other one needs a restart."""
TENANT_AT_ONCE = frozenset({"key", "weight", "models", "max_queue", "requests_per_minute", "tokens_per_minute"})
"""The same of a tenant that there was before."""
MODEL_AT_ONCE = frozenset({"autoload", "max_queue", "pin", "replicas", "traffic"})
"""Keys of a model's entry that concern the daemon alone; for any other one its worker has to be begun anew."""
_LONGEST = 40
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadPlan:
    """What a reload does."""

    changes: list[Change]
    """In the order of models.yaml; empty if nothing has changed."""
    settings: Settings
    """What holds from now on: as newly read, but as before where only a restart could change it."""


def plan_reload(before: Settings, after: Settings, loaded: Collection[str]) -> ReloadPlan:
    """Compare what holds with what was read. `loaded`: models that are loaded, or ought to be."""
    changes = [change for name in Settings.model_fields for change in _section(name, before, after, loaded)]
    return ReloadPlan(changes=changes, settings=_in_effect(before, after))


def needs_new_worker(before: ModelSettings, after: ModelSettings) -> bool:
    """Whether a worker that serves one entry cannot serve the other."""
    return any(path[0] not in MODEL_AT_ONCE for path, _, _ in _differences(before.model_dump(), after.model_dump()))


def _section(name: str, before: Settings, after: Settings, loaded: Collection[str]) -> Iterator[Change]:
    if name == "models":
        yield from _models(before.models, after.models, loaded)
    elif name == "tenants":
        yield from _tenants(before.tenants, after.tenants)
    else:
        old, new = (settings.model_dump(mode="json")[name] for settings in (before, after))
        for path, was, now in _differences(old, new):
            at_once = name == "host" and path[0] in HOST_AT_ONCE
            yield _changed((name, *path), was, now, Effect.AT_ONCE if at_once else Effect.RESTART)


def _tenants(before: Mapping[str, TenantSettings], after: Mapping[str, TenantSettings]) -> Iterator[Change]:
    for name in _names(before, after):
        if name not in after or name not in before:
            yield _entry(("tenants", name), Effect.AT_ONCE, added=name in after)
            continue
        for path, was, now in _differences(before[name].model_dump(mode="json"), after[name].model_dump(mode="json")):
            effect = Effect.AT_ONCE if path[0] in TENANT_AT_ONCE else Effect.RESTART
            yield _changed(("tenants", name, *path), was, now, effect)


def _models(
    before: Mapping[str, ModelSettings], after: Mapping[str, ModelSettings], loaded: Collection[str]
) -> Iterator[Change]:
    for name in _names(before, after):
        if name not in before:
            yield _entry(("models", name), Effect.LOADS if after[name].autoload else Effect.NOT_LOADED, added=True)
        elif name not in after:
            yield _entry(("models", name), Effect.UNLOADS if name in loaded else Effect.AT_ONCE, added=False)
        else:
            anew = Effect.LOADS_ANEW if name in loaded else Effect.NOT_LOADED
            old, new = before[name].model_dump(mode="json"), after[name].model_dump(mode="json")
            for path, was, now in _differences(old, new):
                effect = Effect.AT_ONCE if path[0] in MODEL_AT_ONCE else anew
                if path == ("autoload",) and now and name not in loaded:
                    effect = Effect.LOADS
                yield _changed(("models", name, *path), was, now, effect)


def _in_effect(before: Settings, after: Settings) -> Settings:
    """`after`, but with what only a restart could change as it was."""
    host = before.host.model_copy(update=_chosen(after.host, HOST_AT_ONCE))
    tenants = {
        name: before.tenants[name].model_copy(update=_chosen(tenant, TENANT_AT_ONCE))
        if name in before.tenants
        else tenant
        for name, tenant in after.tenants.items()
    }
    return before.model_copy(update={"host": host, "tenants": tenants, "models": after.models})


def _chosen(settings: HostSettings | TenantSettings, keys: Collection[str]) -> dict[str, Any]:
    return {key: getattr(settings, key) for key in keys}


def _names(before: Collection[str], after: Collection[str]) -> list[str]:
    """All names once: those that there are in their order, then those that there were."""
    return list(dict.fromkeys([*after, *before]))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Each key whose value differs, with both; mappings that both have are entered."""
    for key in _names(before, after):
        was, now = before.get(key), after.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            for path, inner_was, inner_now in _differences(was, now):
                yield (key, *path), inner_was, inner_now
        elif was != now:
            yield (key,), was, now


def _entry(path: KeyPath, effect: Effect, *, added: bool) -> Change:
    return Change(key=dotted(path), change="added" if added else "removed", effect=effect)


def _changed(path: KeyPath, was: Any, now: Any, effect: Effect) -> Change:
    change = "changed" if is_secret(path) else f"{_shown(was)} → {_shown(now)}"
    return Change(key=dotted(path), change=change, effect=effect)


def _shown(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

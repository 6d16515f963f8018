"""Checks that span several keys of models.yaml."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from aquahost.config.kinds import KINDS_OF_KEY, takes
from aquahost.config.mistakes import KeyPath
from aquahost.config.names import DEFAULT_TENANT, NAME_PATTERN
from aquahost.config.settings import EmulatedSettings, Kind, ModelSettings
from aquahost.config.yaml_tree import Value
from aquahost.units import format_bytes, parse_bytes


def cross_check(value: Value) -> Iterator[tuple[KeyPath, str]]:
    """Each contradiction between keys, as the key to change and what is wrong; ignores what is malformed."""
    top = _mapping(value)
    yield from _parts_of_emulated(_mapping(top.get("host")))
    yield from _nothing_to_lend(_mapping(top.get("host")), _mapping(top.get("leasing")))
    yield from _missing_gpus(_mapping(top.get("host")), _mapping(top.get("models")))
    for name, model in _mapping(top.get("models")).items():
        yield from _contradictions(name, _mapping(model))
    yield from _shared_keys(_mapping(top.get("host")), _mapping(top.get("tenants")))
    if DEFAULT_TENANT in _mapping(top.get("tenants")):
        yield ("tenants", DEFAULT_TENANT), "is the name of whoever asks over the daemon's own socket; take another"
    yield from _unknown_models(_mapping(top.get("tenants")), _mapping(top.get("models")))
    if _mapping(top.get("host")).get("tls_key") is not None and _mapping(top.get("host")).get("tls_cert") is None:
        yield ("host", "tls_key"), "is the key of a certificate; name that, too, as host.tls_cert"


def _parts_of_emulated(host: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    partition = host.get("partition")
    if host.get("driver") == "emulated" and isinstance(partition, int) and partition > 1:
        yield ("host", "partition"), "is for real GPUs; host.emulated.gpus says how many the emulated driver shows"


def _nothing_to_lend(host: dict[str, Value], leasing: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    if host.get("driver") != "emulated":
        return  # only a look at the machine can tell
    gpu_bytes = _size(_mapping(host.get("emulated")).get("gpu_bytes", EmulatedSettings().gpu_bytes))
    headroom_bytes = _size(leasing.get("headroom_bytes", 0))
    if leasing.get("enabled") is not False and headroom_bytes and gpu_bytes and headroom_bytes >= gpu_bytes:
        why = f"leaves nothing to lend of GPUs of {format_bytes(gpu_bytes)}; lower it, or set leasing.enabled to false"
        yield ("leasing", "headroom_bytes"), why


def _size(value: Value) -> int:
    """A size in bytes; 0 if it is malformed."""
    try:
        return parse_bytes(value) if isinstance(value, str | int) else 0
    except (ValueError, OverflowError):
        return 0


def _missing_gpus(host: dict[str, Value], models: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    if host.get("driver") != "emulated":
        return  # only a look at the machine can tell
    gpus = _mapping(host.get("emulated")).get("gpus", EmulatedSettings().gpus)
    for name, model in models.items():
        gpu = _mapping(model).get("gpu")
        if isinstance(gpu, int) and isinstance(gpus, int) and gpu >= gpus > 0 and not isinstance(gpu, bool):
            last = "only 0" if gpus == 1 else f"0 to {gpus - 1}"
            yield ("models", name, "gpu"), f"GPU {gpu} does not exist; host.emulated.gpus is {gpus}, so {last} or auto"


def _contradictions(name: str, model: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    """Keys that this kind of model has no use for, and defaults that its own limits forbid."""
    kind = model.get("kind")
    if kind not in list(Kind):
        return
    kind = Kind(kind)
    for key in model:
        if not takes(kind, key):
            *others, last = KINDS_OF_KEY[key]
            kinds = f"{', '.join(others)} or {last}" if others else last
            yield ("models", name, key), f"is for models of kind {kinds}; this one is {kind}"
    for key, limit_key in (("steps", "max_steps"), ("size_px", "max_size_px")):
        value, limit = model.get(key), model.get(limit_key, ModelSettings.model_fields[limit_key].default)
        if takes(kind, key) and isinstance(value, int) and isinstance(limit, int) and value > limit >= 1:
            why = f"{value} is above {limit_key}, which is {limit}; lower it or raise {limit_key}"
            yield ("models", name, key), why


def _shared_keys(host: dict[str, Value], tenants: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    owners: dict[str, str] = {}
    admin_key = host.get("admin_key")
    if isinstance(admin_key, str):
        owners[admin_key] = "host.admin_key"
    for name, tenant in tenants.items():
        key = _mapping(tenant).get("key")
        if not isinstance(key, str):
            continue
        if key in owners:
            yield ("tenants", name, "key"), f"the same key as {owners[key]}; each needs its own"
        owners.setdefault(key, f"tenants.{name}")


def _unknown_models(tenants: dict[str, Value], models: dict[str, Value]) -> Iterator[tuple[KeyPath, str]]:
    """What a tenant may use must exist: a mistyped name would shut it out."""
    for name, tenant in tenants.items():
        allowed = _mapping(tenant).get("models")
        for model in allowed if isinstance(allowed, list) else []:
            if isinstance(model, str) and re.fullmatch(NAME_PATTERN, model) and model not in models:
                near = difflib.get_close_matches(model, models, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(models) or 'none'}"
                yield ("tenants", name, "models"), f"no model is named {model}; {hint}"


def _mapping(value: Value) -> dict[str, Value]:
    return value if isinstance(value, dict) else {}

"""The daemon's state at one instant: CLI tables, the terminal UI and recordings are views of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aquahost.messages.prompts import PromptState
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress

SCHEMA_VERSION = 1
"""Raised whenever a field changes its meaning or goes away."""


class ModelState(StrEnum):
    """Life of a hosted model: unloaded -> loading -> ready -> draining -> unloaded; failed from loading or ready."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class GpuView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU's memory. weights + kv + other + free = total; "other" is what no model of ours accounts for."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    weights_bytes: int
    kv_bytes: int
    other_bytes: int
    models: list[str]


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """One configured model."""

    name: str
    kind: str
    source: str
    state: ModelState
    gpu: int | None
    """None while unloaded."""
    pid: int | None
    restarts: int
    reason: str | None
    """Why it failed, or why its worker last died."""
    load: LoadProgress | None
    """Set while loading."""
    footprint: Footprint | None
    """Set once loaded."""
    stats: EngineStats | None
    queue: int
    """Live prompts of this model: waiting and running."""
    max_queue: int
    ready_for_s: float | None
    resident_bytes: int | None
    """Resident memory of the worker's process."""


class PromptView(msgspec.Struct, frozen=True, kw_only=True):
    """One live prompt. Prompt text is never part of a snapshot."""

    id: str
    model: str
    tenant: str
    kind: str
    state: PromptState
    age_s: float
    input_tokens: int
    output_tokens: int
    steps_done: int | None
    steps: int | None
    first_token_s: float | None
    """Seconds from acceptance to the first token or step."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, taken in one turn of the daemon's event loop: GPUs, models and prompts agree with each other,
    except `stats`, which are each worker's last report, and the GPUs' free bytes and `resident_bytes`, which are read
    once a second."""

    schema_version: int
    at: str
    """Wall-clock time, RFC 3339 in UTC."""
    version: str
    run_id: str
    pid: int
    driver: str
    """"cuda" or "emulated"."""
    uptime_s: float
    draining: bool
    gpus: list[GpuView]
    models: list[ModelView]
    prompts: list[PromptView]
    last_event_seq: int

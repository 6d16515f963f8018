"""The daemon's state at one instant: CLI tables, the terminal UI and recordings are views of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aquahost.messages.prompts import PromptState
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress

SCHEMA_VERSION = 3
"""Raised whenever fields come, go away or change their meaning."""


class ModelState(StrEnum):
    """Life of a hosted model: unloaded -> loading -> ready -> draining -> unloaded; failed from loading or ready."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class GpuView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU's memory. weights + kv + work + lent + other + free = total; "other" is what no model of ours accounts
    for. What its models borrow lies on other GPUs and is in none of these."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    weights_bytes: int
    kv_bytes: int
    """Own KV memory of the models that live here."""
    work_bytes: int
    """What they may take for activations."""
    lent_bytes: int
    """Lent to models of other GPUs."""
    borrowed_bytes: int
    """Borrowed from other GPUs by the models that live here."""
    other_bytes: int
    models: list[str]
    utilisation: float | None = None
    """Share (0 to 1) of about the last second in which a step of one of its models was being computed; None where no
    model reports."""
    lost: str | None = None
    """Why the GPU cannot be used any more."""


class LeaseState(StrEnum):
    """Life of a lease: requested -> granted -> mapped -> recalling -> returned; lost from any of them."""

    REQUESTED = "requested"
    GRANTED = "granted"
    MAPPED = "mapped"
    RECALLING = "recalling"
    RETURNED = "returned"
    LOST = "lost"


class LeaseView(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one GPU in use by a model of another one."""

    id: int
    donor: int
    """The GPU whose memory it is."""
    borrower: str
    """The model that uses it."""
    borrower_gpu: int
    nbytes: int
    """What it holds now."""
    recalled_bytes: int
    """How much of that the donor has asked back."""
    state: LeaseState
    age_s: float
    deadline_in_s: float | None
    """Until the recalled bytes are due; negative once they are late."""


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """One direction between two GPUs, or between a GPU and host memory (-1), as found at start."""

    source: int
    target: int
    usable: bool
    reason: str
    """Why it is not usable: no peer access, bytes that arrived wrong, …; or what was found, like "NVLink"."""
    bytes_per_s: float
    """Measured; 0 where nothing was."""


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """KV that went from one GPU to another, or between a GPU and host memory (-1), in about the last second: what was
    paged, what was moved because a lease was recalled, and what attention read where it lies."""

    source: int
    target: int
    bytes_per_s: float
    """Above 0."""


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
    pinned: bool = False
    """Whether it is never parked: by its entry, or by whoever pinned or unpinned it since."""


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
    waited_s: float = 0.0
    """How long it has taken no part in steps."""
    max_tokens: int | None = None
    """Most output tokens that were asked for; None where the context's end is the only bound, and for other kinds."""
    interruptions: int = 0
    """How often a worker that had it ended."""
    service_s: float = 0.0
    """Device time it has had, as its engine said last."""
    place: str = ""
    """Where a suspended prompt's KV waits: "GPU 3", "host", "GPU 3, host"; empty where it has none there."""
    position: int | None = None
    """Its place in line: how many prompts go before it, and one; 0 while it takes part in steps. None while that is
    not known."""
    next_slice_s: float | None = None
    """Estimate of when it is its turn; 0 while it is. None while that is not known."""


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant: configured, or one that has sent prompts since the daemon's start."""

    name: str
    weight: float
    live: int
    """Live prompts."""
    waiting: int
    """Those of them that have not begun."""
    service_s: float
    """Device time that its prompts have had since the daemon's start, ended ones included."""
    output_tokens: int
    """Tokens that they have produced."""


class FirstTokensView(msgspec.Struct, frozen=True, kw_only=True):
    """How long prompts of the last minute waited for their first token or step."""

    prompts: int = 0
    """How many began in the last minute; only the newest 2048 count."""
    p50_s: float | None = None
    """Half of them waited no longer than this; None where there are none."""
    p99_s: float | None = None


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
    """"cuda" or "emulated"; "simulated" in recordings of `aquahost simulate`."""
    uptime_s: float
    draining: bool
    gpus: list[GpuView]
    models: list[ModelView]
    prompts: list[PromptView]
    leasing: bool = True
    """Whether GPUs may lend at all (leasing.enabled)."""
    lending_trouble: str | None = None
    """Why nothing is lent although it may: the links between GPUs could not be tested."""
    leases: list[LeaseView]
    links: list[LinkView]
    flows: list[FlowView] = []
    tenants: list[TenantView] = []
    first_tokens: FirstTokensView = FirstTokensView()
    last_event_seq: int

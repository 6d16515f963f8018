"""What happened, for people and programs that watch: the daemon's event vocabulary."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """What an `Event` reports; `<what>.<what happened to it>`."""

    DAEMON_STARTED = "daemon.started"
    DAEMON_DRAINING = "daemon.draining"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_REFUSED = "config.refused"
    MODELS_PLACED = "models.placed"
    MODEL_LOADING = "model.loading"
    MODEL_READY = "model.ready"
    MODEL_DRAINING = "model.draining"
    MODEL_UNLOADED = "model.unloaded"
    MODEL_FAILED = "model.failed"
    MODEL_PARKED = "model.parked"
    MODEL_WOKEN = "model.woken"
    MODEL_REMOVED = "model.removed"
    WORKER_DIED = "worker.died"
    LEASE_GRANTED = "lease.granted"
    LEASE_MAPPED = "lease.mapped"
    LEASE_RECALLED = "lease.recalled"
    LEASE_RETURNED = "lease.returned"
    LEASE_OVERDUE = "lease.overdue"
    LEASE_LOST = "lease.lost"
    LINK_REFUSED = "link.refused"
    GPU_LOST = "gpu.lost"
    PROMPTS_STRANDED = "prompts.stranded"
    PROMPTS_CARRIED_ON = "prompts.carried_on"
    PROMPT_QUEUED = "prompt.queued"
    PROMPT_FINISHED = "prompt.finished"
    PROMPT_CANCELLED = "prompt.cancelled"
    PROMPT_FAILED = "prompt.failed"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened, numbered by the daemon in the order it happened."""

    seq: int
    at: str
    """Wall-clock time, RFC 3339 in UTC."""
    kind: EventKind
    message: str
    """One line fit to show a person; never prompt text."""
    model: str | None = None
    prompt_id: str | None = None

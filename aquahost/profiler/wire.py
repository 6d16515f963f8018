"""What the measuring process is told, and what it tells, one line of JSON each."""

from __future__ import annotations

from typing import Any

import msgspec

from aquahost.profiles.profile import GatedCosts, LanguageCosts


class MeasureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure; the one line on standard input."""

    name: str
    """The model's."""
    model: dict[str, Any]
    """A `ModelSettings` as plain values."""
    scheduler: dict[str, Any]
    """A `SchedulerSettings` as plain values."""
    host: dict[str, Any]
    """A `HostSettings` as plain values."""
    threads: int
    """For torch: what a worker gets."""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """How far it is."""

    what: str
    done: int
    total: int
    in_bytes: bool = False
    """Not pieces."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """The result."""

    gpu: str
    """A data sheet's name, "emulated", or what the driver calls the GPU."""
    dtype: str
    parameters: int
    costs: LanguageCosts | GatedCosts
    peer_bytes_per_s: float | None = None
    host_bytes_per_s: float | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It can't be measured; the reason is for the user."""

    reason: str


FromMeasuring = Note | Measured | Refused

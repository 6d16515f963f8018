"""Pieces of text with a tone: what a colour means is the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import LeaseState, ModelState
from aquahost.units import GIB, KIB, MIB, TIB


class Tone(StrEnum):
    """What a colour says."""

    PLAIN = "plain"
    GOOD = "good"
    BUSY = "busy"
    WARN = "warn"
    BAD = "bad"
    DIM = "dim"
    ACCENT = "accent"

    @property
    def variable(self) -> str:
        """The theme's colour, as styles of content name it."""
        return _VARIABLES[self]


_VARIABLES = {
    Tone.PLAIN: "$foreground",
    Tone.GOOD: "$text-success",
    Tone.BUSY: "$text-primary",
    Tone.WARN: "$text-warning",
    Tone.BAD: "$text-error",
    Tone.DIM: "$foreground-muted",
    Tone.ACCENT: "$text-accent",
}

PROMPT_TONES = {
    PromptState.WAITING: Tone.WARN,
    PromptState.PREFILLING: Tone.BUSY,
    PromptState.RUNNING: Tone.GOOD,
    PromptState.SUSPENDED: Tone.ACCENT,
}
MODEL_TONES = {
    ModelState.UNLOADED: Tone.DIM,
    ModelState.LOADING: Tone.BUSY,
    ModelState.READY: Tone.GOOD,
    ModelState.DRAINING: Tone.WARN,
    ModelState.FAILED: Tone.BAD,
}
LEASE_TONES = {
    LeaseState.REQUESTED: Tone.DIM,
    LeaseState.GRANTED: Tone.BUSY,
    LeaseState.MAPPED: Tone.GOOD,
    LeaseState.RECALLING: Tone.WARN,
    LeaseState.RETURNED: Tone.DIM,
    LeaseState.LOST: Tone.BAD,
}


class Cell(NamedTuple):
    """What stands in one place of a table."""

    text: str
    tone: Tone = Tone.PLAIN


NONE = Cell("–", Tone.DIM)
"""Stands where there is nothing to tell."""


def short_bytes(nbytes: float) -> str:
    """A size in at most five characters: "0", "512K", "1.5G"."""
    for unit, name in ((TIB, "T"), (GIB, "G"), (MIB, "M"), (KIB, "K")):
        # What would be rounded up to 1024 of a unit is 1 of the next.
        if nbytes >= unit * 0.9995:
            value = nbytes / unit
            return f"{value:.1f}{name}" if value < 9.95 else f"{value:.0f}{name}"
    return f"{nbytes:.0f}"


def short_rate(bytes_per_s: float) -> str:
    """A rate in at most seven characters: "1.5G/s"; links are told in powers of ten."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if bytes_per_s >= unit * 0.9995:
            value = bytes_per_s / unit
            return f"{value:.1f}{name}/s" if value < 9.95 else f"{value:.0f}{name}/s"
    return f"{bytes_per_s:.0f}/s"


def short_seconds(seconds: float) -> str:
    """A time in at most five characters: "85ms", "4.2s", "75s", "3m05", "2h10"."""
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest_s:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}" if hours < 100 else f"{hours // 24}d"


def short_count(count: float) -> str:
    """A count with thin precision: "950", "12.4k", "3.1M"."""
    if count < 9_999.5:
        return f"{count:,.0f}"
    if count < 999_950:
        return f"{count / 1e3:.1f}k"
    return f"{count / 1e6:.1f}M"

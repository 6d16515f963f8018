"""How far a model's load has come, as a bar and in words."""

from __future__ import annotations

from aquahost.messages.wire import LoadProgress
from aquahost.units import format_bytes

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def load_share(load: LoadProgress | None) -> float | None:
    """From 0 to 1; None while the total is not known."""
    return min(load.done / load.total, 1.0) if load is not None and load.total > 0 else None


def progress_bar(share: float, width: int) -> str:
    """`share` of `width` cells filled, by eighths of a cell; the rest is dots."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    whole, part = divmod(eighths, 8)
    bar = "█" * whole + (_EIGHTHS[part] if part else "")
    return bar + "·" * (width - len(bar))


def load_words(load: LoadProgress | None) -> str:
    """What is being done, and how much of it is: "loading weights, 1.0 GiB of 2.0 GiB"."""
    if load is None:
        return "starting its process"
    if load.total <= 0:
        return load.stage
    if load.unit == "bytes":
        return f"{load.stage}, {format_bytes(load.done)} of {format_bytes(load.total)}"
    return f"{load.stage}, {load.done:,} of {load.total:,} {load.unit}"

"""Sizes and times as people write and read them."""

from __future__ import annotations

import re

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_SIZE_UNITS = {
    "": 1, "b": 1,
    "k": KIB, "kib": KIB, "kb": 10**3,
    "m": MIB, "mib": MIB, "mb": 10**6,
    "g": GIB, "gib": GIB, "gb": 10**9,
    "t": TIB, "tib": TIB, "tb": 10**12,
}  # fmt: skip
_TIME_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$")


def parse_bytes(text: str | int) -> int:
    """Bytes in `text`: an int, or a number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB ("80GiB").

    Raises ValueError that names the accepted units.
    """
    if isinstance(text, int):
        if isinstance(text, bool) or text < 0:
            raise ValueError(f"{text!r} is no size")
        return text
    match = _QUANTITY.match(text)
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"{text!r} is no size; write a number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, like 80GiB"
        )
    return int(float(match[1]) * unit)


def parse_seconds(text: str | float) -> float:
    """Seconds in `text`: a number, or one with ms, s, m or h ("30s"). Raises ValueError that names the units."""
    if not isinstance(text, str):
        if isinstance(text, bool) or not 0 <= text < float("inf"):
            raise ValueError(f"{text!r} is no length of time")
        return float(text)
    match = _QUANTITY.match(text)
    unit = _TIME_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no length of time; write a number with ms, s, m or h, like 30s")
    return float(match[1]) * unit


def format_bytes(size_bytes: float) -> str:
    """A size for people: "512 B", "1.5 GiB"."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """A length of time for people: "85 ms", "4.2 s", "3m 05s", "2h 10m"."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest_s:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def counted(number: int, what: str) -> str:
    """So many of something, for people: "1 prompt", "1,200 prompts"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"

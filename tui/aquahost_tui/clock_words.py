"""Times of day, as this machine's clock tells them: logs are written by it, so events must be told by it too."""

from __future__ import annotations

from datetime import datetime


def clock_of(at: str) -> str:
    """Hours, minutes and seconds of an RFC 3339 time, in this machine's zone; dashes for what is no time."""
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):  # the second for years that a shift between zones leads out of
        return "--:--:--"

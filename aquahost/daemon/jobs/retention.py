"""What is kept of what has ended, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that could be removed: an ended job or batch with its result, or a file that no open batch reads."""

    kind: Literal["job", "batch", "file"]
    id: str
    since_s: float
    """When it ended, or came; wall clock."""
    nbytes: int


def surplus(kept: Iterable[Kept], *, now_s: float, keep_s: float, room_bytes: int) -> list[Kept]:
    """What has to go, oldest first: all that is older than `keep_s`, then the oldest until the rest takes no more than
    `room_bytes`. What takes no room makes none."""
    by_age = sorted(kept, key=lambda one: (one.since_s, one.kind, one.id))
    left_bytes = sum(one.nbytes for one in by_age)
    gone: list[Kept] = []
    for one in by_age:
        too_old = now_s - one.since_s > keep_s
        if too_old or (left_bytes > room_bytes and one.nbytes):
            gone.append(one)
            left_bytes -= one.nbytes
    return gone

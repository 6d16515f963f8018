"""What is kept of what has ended, and for how long. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that could be removed: an ended job or batch with its result, or a file that no open batch reads."""

    kind: Literal["job", "batch", "file"]
    id: str
    tenant: str
    since_s: float
    """When it ended, or came; wall clock."""
    nbytes: int


NEWEST_S = 1.0
"""What came within such a time of a tenant's newest is as new: files know their second, and a batch ends with two."""


def surplus(kept: Iterable[Kept], *, age_s: Callable[[float], float], keep_s: float, room_bytes: int) -> list[Kept]:
    """What has to go: all that is older than `keep_s`, then of each tenant the oldest, until the rest of it takes no
    more than `room_bytes`. A tenant's newest stays even if that alone is too much: nothing makes room for itself. What
    takes no room makes none."""
    of_tenants: dict[str, list[Kept]] = defaultdict(list)
    for one in kept:
        of_tenants[one.tenant].append(one)
    gone: list[Kept] = []
    for of_tenant in of_tenants.values():
        by_age = sorted(of_tenant, key=lambda one: (one.since_s, one.kind, one.id))
        left_bytes = sum(one.nbytes for one in by_age)
        newest_s = max((one.since_s for one in by_age if one.nbytes), default=0.0)
        for one in by_age:
            too_old = age_s(one.since_s) > keep_s
            makes_room = left_bytes > room_bytes and one.nbytes and one.since_s < newest_s - NEWEST_S
            if too_old or makes_room:
                gone.append(one)
                left_bytes -= one.nbytes
    return gone

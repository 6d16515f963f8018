"""Where a borrower puts what lies in memory that is wanted back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Target(StrEnum):
    """Where a chunk's bytes go."""

    NOWHERE = "nowhere"
    """There are none; it is just given up."""
    PEER = "peer"
    """To a free chunk of another lease."""
    HOST = "host"
    DROP = "drop"
    """They are lost, and computed again when they are needed."""


@dataclass(frozen=True, slots=True)
class LentChunk:
    """A chunk of the arena that lies in lent memory."""

    index: int
    nbytes: int
    used_bytes: int
    """Of blocks in use."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What happens to one chunk that is given up."""

    chunk: int
    nbytes: int
    target: Target
    peer_chunk: int | None = None
    """The free chunk that takes its bytes; set exactly for PEER."""


def plan_recall(
    chunks: Iterable[LentChunk], nbytes: int, free_peer_chunks: Sequence[int], host_room_bytes: int
) -> list[Assignment]:
    """Choose chunks of recalled leases so that at least `nbytes` are given back, or all there are.

    Empty chunks go first, then those with the fewest used bytes, as the cheapest to move. Of these the fullest get
    the free chunks of other leases (all chunks of an arena have one size) and the next ones host memory, so that what
    is dropped is the least to compute again. In the order in which to carry it out: what costs nothing first.
    """
    given_up: list[LentChunk] = []
    missing_bytes = nbytes
    for chunk in sorted(chunks, key=lambda chunk: (chunk.used_bytes, chunk.index)):
        if missing_bytes <= 0:
            break
        given_up.append(chunk)
        missing_bytes -= chunk.nbytes
    peers = iter(free_peer_chunks)
    plan: list[Assignment] = []
    for chunk in reversed(given_up):
        if chunk.used_bytes == 0:
            plan.append(Assignment(chunk.index, chunk.nbytes, Target.NOWHERE))
        elif (peer := next(peers, None)) is not None:
            plan.append(Assignment(chunk.index, chunk.nbytes, Target.PEER, peer))
        elif chunk.nbytes <= host_room_bytes:
            host_room_bytes -= chunk.nbytes
            plan.append(Assignment(chunk.index, chunk.nbytes, Target.HOST))
        else:
            plan.append(Assignment(chunk.index, chunk.nbytes, Target.DROP))
    return plan[::-1]

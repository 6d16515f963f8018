"""Leased memory of a simulated language model, in chunks of blocks that are counted instead of held."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Lease:
    """Memory of another GPU that is mapped."""

    donor: int
    chunks: int
    bytes_per_s: float
    used: int = 0
    """Blocks given out."""
    keep_chunks: int | None = None
    """How many of its chunks may be kept, while the donor wants some back."""
    vacating: int = 0
    """Chunks whose blocks are on their way elsewhere."""


class PeerMemory:
    """Owns the leases of one model on one GPU. Sums are kept, since they are asked for in every step."""

    def __init__(self, chunk_blocks: int) -> None:
        self.chunk_blocks = chunk_blocks
        self.leases: dict[int, Lease] = {}
        """By id; changed by this class alone, like what they hold."""
        self.recalled: set[int] = set()
        """Those of which a donor wants memory back."""
        self.chunks = 0
        """Of all leases."""
        self.used = 0
        """Blocks given out."""
        self.slowest_bytes_per_s: float | None = None

    @property
    def free(self) -> int:
        """Blocks that could be given out."""
        if not self.recalled:
            return self.chunks * self.chunk_blocks - self.used
        closed = [self.leases[number] for number in self.recalled]
        return self.chunks * self.chunk_blocks - self.used - sum([self.room(one, closed=True) for one in closed])

    @property
    def kept_chunks(self) -> int:
        """Chunks, without what is wanted back."""
        if not self.recalled:
            return self.chunks
        recalled = [self.leases[number] for number in self.recalled]
        return self.chunks - sum([one.chunks - (one.keep_chunks or 0) for one in recalled])

    def room(self, lease: Lease, *, closed: bool = False) -> int:
        """Blocks of a lease that are not given out; of a recalled one none, unless `closed` ones are to be counted."""
        if lease.keep_chunks is not None and not closed:
            return 0
        return (lease.chunks - lease.vacating) * self.chunk_blocks - lease.used

    def rooms(self) -> dict[int, int]:
        """Blocks that could be given out, by lease that has any."""
        if not self.free:
            return {}
        return {number: room for number, lease in self.leases.items() if (room := self.room(lease)) > 0}

    # -- blocks ------------------------------------------------------------------------------------------------

    def take(self, count: int) -> Counter[int]:
        """At most so many blocks, evenly over the leases as far as they have room."""
        taken: Counter[int] = Counter()
        rooms = sorted(self.rooms().items(), key=lambda one: one[1]) if count else []
        left = min(count, sum(room for _, room in rooms))
        for at, (number, room) in enumerate(rooms):
            part = min(room, left // (len(rooms) - at))
            if part:
                taken[number] = part
                self.give(number, part)
                left -= part
        return taken

    def give(self, lease_id: int, count: int) -> None:
        """Give out blocks of a lease, or take them back where `count` is negative; nothing of a lease that is gone."""
        if lease_id in self.leases:
            self.leases[lease_id].used += count
            self.used += count

    # -- leases ------------------------------------------------------------------------------------------------

    def map(self, lease_id: int, donor: int, chunks: int, bytes_per_s: float) -> None:
        """Take leased memory."""
        self.leases[lease_id] = Lease(donor, chunks, bytes_per_s)
        self.chunks += chunks
        self._note_slowest()

    def recall(self, lease_id: int, keep_chunks: int) -> None:
        """The donor wants all but so many chunks back; nothing more is put there."""
        lease = self.leases[lease_id]
        lease.keep_chunks = keep_chunks if lease.keep_chunks is None else min(keep_chunks, lease.keep_chunks)
        self.recalled.add(lease_id)

    def reopen(self, lease_id: int) -> None:
        """The donor has what it wanted."""
        self.leases[lease_id].keep_chunks = None
        self.recalled.discard(lease_id)

    def has_empty(self, lease_id: int) -> bool:
        """Whether a lease has a chunk that holds nothing."""
        lease = self.leases[lease_id]
        return (lease.chunks - lease.vacating - 1) * self.chunk_blocks >= lease.used

    def give_up_empty(self, lease_id: int, chunks: int) -> int:
        """Give up to so many empty chunks of a lease back; returns how many. A lease without chunks is forgotten."""
        given = max(0, min(chunks, self.room(self.leases[lease_id], closed=True) // self.chunk_blocks))
        self.give_up(lease_id, given)
        return given

    def give_up(self, lease_id: int, chunks: int) -> None:
        """A lease has so many chunks less; they hold nothing any more."""
        lease = self.leases[lease_id]
        lease.chunks -= chunks
        self.chunks -= chunks
        if not lease.chunks:
            self.used -= lease.used
            del self.leases[lease_id]
            self.recalled.discard(lease_id)
            self._note_slowest()

    def _note_slowest(self) -> None:
        self.slowest_bytes_per_s = min([one.bytes_per_s for one in self.leases.values()], default=None)

    def check(self, held: Counter[int]) -> None:
        """Raise AssertionError unless every block is counted once; `held`: by lease, as prompts have it."""
        assert self.used == sum(one.used for one in self.leases.values()), "leased blocks are miscounted"
        assert self.chunks == sum(one.chunks for one in self.leases.values()), "leased chunks are miscounted"
        for number, lease in self.leases.items():
            assert lease.used == held[number], f"blocks of lease {number} are miscounted"
            assert self.room(lease, closed=True) >= 0, f"lease {number} is overfull"

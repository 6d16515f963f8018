"""Which KV blocks are free, and in which tier they lie."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aquahost.engines.llm.tiers import Tier


@dataclass(slots=True, eq=False)
class _Chunk:
    """Blocks whose memory comes and goes together."""

    tier: Tier
    group: int
    ids: range
    free: list[int]
    open: bool = True


@dataclass(slots=True, eq=False)
class _Group:
    """Chunks of one tier that share a link: those of one donor, say."""

    chunks: list[int] = field(default_factory=list)
    """Heap of chunks that may have free blocks; entries may be stale."""
    free: int = 0
    """Free blocks of its open chunks."""


class BlockPool:
    """Owns the block ids of all mapped chunks, each either free or given out.

    Chunk c has the ids from c * chunk_blocks on. Within a group low chunks are given first, so that high ones fall
    empty; in a chunk single blocks are given as they were freed last, to stay warm, and several side by side. Blocks
    asked of a tier of several groups are spread over them evenly: several links carry them side by side.
    """

    def __init__(self, chunk_blocks: int) -> None:
        self.chunk_blocks = chunk_blocks
        self._chunks: dict[int, _Chunk] = {}
        self._groups: dict[Tier, dict[int, _Group]] = {tier: {} for tier in Tier}

    # -- chunks ------------------------------------------------------------------------------------------------

    def add(self, chunk: int, tier: Tier, *, group: int = 0, blocks: int | None = None) -> None:
        """A chunk has memory now, all free; `blocks` leaves out all but its first so many."""
        first = chunk * self.chunk_blocks
        ids = range(first, first + (self.chunk_blocks if blocks is None else blocks))
        self._chunks[chunk] = _Chunk(tier, group, ids, list(reversed(ids)))
        self._join(chunk)

    def close(self, chunk: int) -> None:
        """Give out none of its blocks any more; those that are out stay. More than once is harmless."""
        entry = self._chunks[chunk]
        if entry.open:
            self._leave(entry)
            entry.open = False

    def reopen(self, chunk: int, tier: Tier, *, group: int = 0) -> None:
        """Give out the blocks of a closed chunk again, whose memory may lie elsewhere now; an open one stays so."""
        entry = self._chunks[chunk]
        if entry.open:
            return
        entry.tier, entry.group, entry.open = tier, group, True
        self._join(chunk)

    def remove(self, chunk: int) -> None:
        """A chunk loses its memory. Raises ValueError if one of its blocks is given out."""
        entry = self._chunks[chunk]
        if len(entry.free) != len(entry.ids):
            raise ValueError(f"chunk {chunk} still holds {len(entry.ids) - len(entry.free)} blocks")
        self.close(chunk)
        del self._chunks[chunk]

    def used(self, chunk: int) -> int:
        """Blocks of a chunk that are given out."""
        entry = self._chunks[chunk]
        return len(entry.ids) - len(entry.free)

    def used_ids(self, chunk: int) -> list[int]:
        """Which they are, ascending."""
        entry = self._chunks[chunk]
        return sorted(set(entry.ids).difference(entry.free))

    # -- blocks ------------------------------------------------------------------------------------------------

    def blocks(self, tier: Tier) -> int:
        """All blocks of the tier's open chunks, and of closed ones what is given out."""
        return sum(
            len(entry.ids) if entry.open else len(entry.ids) - len(entry.free)
            for entry in self._chunks.values()
            if entry.tier is tier
        )

    def free(self, tier: Tier) -> int:
        """Blocks that `allocate` could give."""
        return sum(group.free for group in self._groups[tier].values())

    @property
    def given(self) -> int:
        """Blocks given out, whatever their tier."""
        return sum(len(entry.ids) - len(entry.free) for entry in self._chunks.values())

    def allocate(self, count: int, tier: Tier) -> list[int]:
        """Give out `count` blocks; raises ValueError, with nothing given, if fewer are free."""
        if not 0 < count <= self.free(tier):
            raise ValueError(f"{count} {tier} blocks asked, {self.free(tier)} of {self.blocks(tier)} free")
        groups = sorted(self._groups[tier].values(), key=lambda group: group.free)
        taken: list[int] = []
        for position, group in enumerate(groups):
            share = min(group.free, -(-(count - len(taken)) // (len(groups) - position)))
            self._take(group, share, taken)
        return taken

    def release(self, block_ids: Iterable[int]) -> None:
        """Take blocks back."""
        for block_id in block_ids:
            chunk = block_id // self.chunk_blocks
            entry = self._chunks[chunk]
            entry.free.append(block_id)
            if entry.open:
                group = self._groups[entry.tier][entry.group]
                group.free += 1
                if len(entry.free) == 1:
                    heapq.heappush(group.chunks, chunk)

    def tier(self, block_id: int) -> Tier:
        """Where a block lies."""
        return self._chunks[block_id // self.chunk_blocks].tier

    def check(self, held: Sequence[int]) -> None:
        """Raise AssertionError unless `held` (all blocks given out) and the free ones are each block exactly once."""
        free = [block_id for entry in self._chunks.values() for block_id in entry.free]
        every = sorted(block_id for entry in self._chunks.values() for block_id in entry.ids)
        assert sorted([*held, *free]) == every, f"{len(held)} held + {len(free)} free, of {len(every)} blocks"
        for tier, groups in self._groups.items():
            for number, group in groups.items():
                counted = sum(
                    len(entry.free)
                    for entry in self._chunks.values()
                    if entry.open and entry.tier is tier and entry.group == number
                )
                assert counted == group.free, f"{group.free} free {tier} blocks noted in group {number}, not {counted}"

    # -- pieces ------------------------------------------------------------------------------------------------

    def _join(self, chunk: int) -> None:
        entry = self._chunks[chunk]
        group = self._groups[entry.tier].setdefault(entry.group, _Group())
        group.free += len(entry.free)
        if entry.free:
            heapq.heappush(group.chunks, chunk)

    def _leave(self, entry: _Chunk) -> None:
        group = self._groups[entry.tier][entry.group]
        group.free -= len(entry.free)

    def _take(self, group: _Group, count: int, taken: list[int]) -> None:
        while count:
            chunk = group.chunks[0]
            entry = self._chunks.get(chunk)
            if (
                entry is None
                or not entry.open
                or not entry.free
                or self._groups[entry.tier].get(entry.group) is not group
            ):
                heapq.heappop(group.chunks)
                continue
            share = min(count, len(entry.free))
            if share > 1:
                entry.free.sort(reverse=True)  # side by side, so that one copy moves many
            part = entry.free[-share:]
            part.reverse()
            del entry.free[-share:]
            taken += part
            if not entry.free:
                heapq.heappop(group.chunks)
            group.free -= share
            count -= share

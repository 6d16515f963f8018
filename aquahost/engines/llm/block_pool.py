"""Which KV blocks are free."""

from __future__ import annotations

from collections.abc import Iterable


class BlockPool:
    """Owns the ids 0 … blocks-1, each either free or given out. Low ids are given first, most recently freed first,
    so that what is touched stays small and warm."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._free = list(range(blocks - 1, -1, -1))

    @property
    def blocks(self) -> int:
        """All blocks."""
        return self._blocks

    @property
    def free(self) -> int:
        """Blocks not given out."""
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Give out `count` blocks; raises ValueError, with nothing given, if fewer are free."""
        if not 0 < count <= len(self._free):
            raise ValueError(f"{count} blocks asked, {len(self._free)} of {self._blocks} free")
        taken = self._free[-count:]
        del self._free[-count:]
        taken.reverse()
        return taken

    def release(self, block_ids: Iterable[int]) -> None:
        """Take blocks back."""
        self._free.extend(block_ids)

    def check(self, held: Iterable[int]) -> None:
        """Raise AssertionError unless `held` (all blocks given out) and the free ones are each block exactly once."""
        ids = sorted([*held, *self._free])
        assert ids == list(range(self._blocks)), f"{len(ids)} block ids for {self._blocks} blocks, or one held twice"

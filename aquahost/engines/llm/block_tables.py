"""Block tables of all running prompts in preallocated arrays, so that a step's batch is built without loops."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class BlockTables:
    """One row ("slot") for each running prompt: its blocks, how much is computed, and its newest token."""

    def __init__(self, slots: int, max_blocks: int) -> None:
        """`max_blocks`: blocks of the longest prompt."""
        self.blocks: Ints = np.zeros((slots, max_blocks), dtype=np.int64)
        """[slots, max_blocks] block ids; beyond `counts` meaningless but valid ids."""
        self.counts: Ints = np.zeros(slots, dtype=np.int64)
        self.computed: Ints = np.zeros(slots, dtype=np.int64)
        """Tokens whose K and V lie in the blocks."""
        self.last_tokens: Ints = np.zeros(slots, dtype=np.int64)
        """The token a decode step computes."""
        self._free = list(range(slots - 1, -1, -1))

    def acquire(self) -> int:
        """A free slot, emptied."""
        slot = self._free.pop()
        self.counts[slot] = self.computed[slot] = self.last_tokens[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Give the slot back."""
        self._free.append(slot)

    def append(self, slot: int, block_ids: list[int]) -> None:
        """Add blocks to the end of a slot's table."""
        count = int(self.counts[slot])
        self.blocks[slot, count : count + len(block_ids)] = block_ids
        self.counts[slot] = count + len(block_ids)

    def held(self, slot: int) -> list[int]:
        """The slot's blocks in order of their tokens."""
        blocks: list[int] = self.blocks[slot, : self.counts[slot]].tolist()
        return blocks

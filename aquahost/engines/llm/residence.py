"""Where one prompt's KV lies: its blocks, and copies of them that were left behind in slower memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NO_COPY = -1


@dataclass(slots=True, eq=False)
class Residence:
    """One entry of both lists for each block of the prompt, in order of its tokens.

    A prompt that was paged in keeps the copies it came from: KV is only ever appended, so what was written out once
    needs no second writing.
    """

    blocks: list[int] = field(default_factory=list)
    """Where attention finds each block."""
    copies: list[int] = field(default_factory=list)
    """A second block in slower memory with the same contents up to `saved_tokens`; NO_COPY where there is none."""
    saved_tokens: int = 0
    """Leading tokens whose K and V are in the copies, where there are copies."""
    copy_count: int = 0
    """How many copies there are."""

    def append(self, block_ids: list[int]) -> None:
        """The prompt grows by these blocks."""
        self.blocks += block_ids
        self.copies += [NO_COPY] * len(block_ids)

    def is_saved(self, index: int, computed: int, block_tokens: int) -> bool:
        """Whether the copy of block `index` has all that a prompt of `computed` tokens has in it."""
        return self.copies[index] != NO_COPY and min((index + 1) * block_tokens, computed) <= self.saved_tokens

    def held(self) -> list[int]:
        """All blocks it holds, copies included."""
        return [*self.blocks, *(copy for copy in self.copies if copy != NO_COPY)]

    def drop_copies(self, among: range | None = None) -> list[int]:
        """Forget the copies whose ids are in `among`, or all; returns them, to be released."""
        dropped = []
        for index, copy in enumerate(self.copies):
            if copy != NO_COPY and (among is None or copy in among):
                dropped.append(copy)
                self.copies[index] = NO_COPY
        self.copy_count -= len(dropped)
        return dropped

    def move(self, targets: Mapping[int, int], *, keep_copies: bool) -> list[int]:
        """Let block `index` be `targets[index]` from now on; returns the blocks it was before, to be released, unless
        they are kept as copies. A target that was the block's copy is its copy no longer."""
        left = []
        for index, target in targets.items():
            if self.copies[index] != NO_COPY:
                self.copy_count -= 1
            left.append(self.blocks[index])
            self.copies[index] = self.blocks[index] if keep_copies else NO_COPY
            self.blocks[index] = target
        if keep_copies:
            self.copy_count += len(left)
            return []
        return left

    def clear(self) -> list[int]:
        """Forget everything; returns all blocks, to be released."""
        held = self.held()
        self.blocks, self.copies, self.saved_tokens, self.copy_count = [], [], 0, 0
        return held

    def trim(self, blocks: int) -> list[int]:
        """Forget all but the first so many blocks; returns what it held beyond them, to be released."""
        beyond = Residence(self.blocks[blocks:], self.copies[blocks:])
        del self.blocks[blocks:], self.copies[blocks:]
        released = beyond.held()
        self.copy_count -= len(released) - len(beyond.blocks)
        return released

"""How much KV memory a language model wants, on its own GPU and of its neighbours: pure decisions over block counts."""

from __future__ import annotations

LOOKAHEAD_TOKENS = 256
"""Tokens that memory is asked for ahead of each prompt's growth, so that it is there when the growth is."""
HEADROOM_SHARE = 0.25
"""Part of its local memory that a language model keeps when nobody asks it anything."""


class Linger:
    """A wish that rises at once and falls only after it has been lower for a while."""

    def __init__(self, linger_s: float, value: int = 0) -> None:
        self.value = value
        """What is wished for now."""
        self._linger_s = linger_s
        self._lower_since_s: float | None = None
        self._highest = 0

    def update(self, wish: int, now_s: float) -> int:
        """Take in the present wish; returns what to go by."""
        if wish >= self.value:
            self.value = wish
            self._lower_since_s = None
            return wish
        if self._lower_since_s is None:
            self._lower_since_s, self._highest = now_s, wish
        self._highest = max(self._highest, wish)
        if now_s - self._lower_since_s >= self._linger_s:
            self.value = self._highest
            self._lower_since_s = None
        return self.value


def headroom_chunks(local_chunks: int) -> int:
    """Local chunks that are never lent while the model is awake."""
    return max(1, round(local_chunks * HEADROOM_SHARE))


def local_chunks_wanted(blocks: int, chunk_blocks: int, local_chunks: int) -> int:
    """Of its own GPU, for live prompts of `blocks` blocks in all, beside the headroom."""
    return min(local_chunks, -(-blocks // chunk_blocks) + headroom_chunks(local_chunks))


def borrowed_chunks_wanted(begun_blocks: int, local_blocks: int, chunk_blocks: int, most_chunks: int) -> int:
    """Of its neighbours, for begun prompts of `begun_blocks` blocks in all; in steps of an eighth of local memory, so
    that a few leases serve prompts that grow token by token."""
    step_blocks = max(1, local_blocks // chunk_blocks // 8) * chunk_blocks
    return min(most_chunks, max(0, -(-(begun_blocks - local_blocks) // step_blocks)) * step_blocks // chunk_blocks)

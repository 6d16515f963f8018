"""What a scheduler may count on, whatever its policy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Limits of one language model's steps."""

    most_blocks: int
    """Blocks that a prompt which is alone can surely have, in all tiers together."""
    block_tokens: int
    step_tokens: int
    """Most tokens of a step."""
    max_batch: int
    """Most prompts of a step."""
    headroom_tokens: int = 64
    """What every running prompt should still be able to grow by when another one begins."""

    def __post_init__(self) -> None:
        if min(self.most_blocks, self.block_tokens, self.step_tokens, self.max_batch) < 1:
            raise ValueError("most_blocks, block_tokens, step_tokens and max_batch must be at least 1")

    @property
    def max_running(self) -> int:
        """Most prompts that run, so that every decoding one has its token in every step."""
        return min(self.max_batch, self.step_tokens)

    def blocks_for(self, tokens: int) -> int:
        """Blocks that so many tokens take."""
        return -(-tokens // self.block_tokens)

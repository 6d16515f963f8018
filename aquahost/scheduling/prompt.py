"""A language prompt as the scheduler sees it: how many tokens it has, how many are computed, what it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledPrompt:
    """One live prompt; changed by its scheduler alone."""

    id: str
    tokens: int
    """Tokens known so far: the input and what was produced."""
    max_tokens: int
    """Most tokens it will ever have, input included."""
    computed: int = 0
    """Leading tokens whose keys and values lie in its blocks."""
    blocks: int = 0
    """KV blocks it holds."""

    @property
    def remaining(self) -> int:
        """Tokens still to be computed before the next one can be produced; 1 while decoding."""
        return self.tokens - self.computed

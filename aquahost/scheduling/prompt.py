"""A language prompt as the scheduler sees it: how many tokens it has, how many are computed, what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Stand(Enum):
    """Where a prompt stands between steps."""

    WAITING = "waiting"
    """Holds no blocks; nothing of it is computed."""
    RUNNING = "running"
    LEAVING = "leaving"
    """Being paged out; its local blocks are not free yet."""
    SUSPENDED = "suspended"
    """All its blocks lie in slower memory."""
    ARRIVING = "arriving"
    """Being paged in; its local blocks are taken already."""


@dataclass(slots=True, kw_only=True, eq=False)
class ScheduledPrompt:
    """One live prompt; changed by its scheduler alone."""

    id: str
    tenant: str = ""
    weight: float = 1.0
    """The tenant's."""
    level: int = 0
    """Under the policy "priority": smaller goes first."""
    tokens: int
    """Tokens known so far: the input and what was produced."""
    max_tokens: int
    """Most tokens it will ever have, input included."""
    computed: int = 0
    """Leading tokens whose keys and values lie in its blocks."""
    blocks: int = 0
    """KV blocks it holds, wherever they lie; copies are not counted."""
    local: int = 0
    """Those of them that lie on the model's own GPU, or are taken there."""
    stand: Stand = Stand.WAITING
    hosted: int = 0
    """Those of its blocks that lie in host memory, as far as is known."""
    arrival: int = 0
    """Its place in the order of arrival."""
    has_begun: bool = False
    """Whether it has produced a token."""
    since_s: float = 0.0
    """When it began to stand as it does: to run, or to wait."""
    yielded: int = 0
    """Tokens it has produced since it last came in."""

    @property
    def remaining(self) -> int:
        """Tokens still to be computed before the next one can be produced; 1 while decoding."""
        return self.tokens - self.computed

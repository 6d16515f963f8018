"""Whose step is next among the prompts of a gated engine: a pure decision over prompt ids."""

from __future__ import annotations

from collections import deque


class Turns:
    """First come, first begun, at most `max_begun` at a time; those begun take steps in turn.

    Turns rather than runs to completion: while everything fits, a short prompt need not wait for a long one.
    """

    def __init__(self, max_begun: int) -> None:
        if max_begun < 1:
            raise ValueError(f"max_begun must be at least 1, not {max_begun}")
        self._max_begun = max_begun
        self._waiting: deque[str] = deque()
        self._begun: deque[str] = deque()

    @property
    def waiting(self) -> int:
        """Prompts not yet begun."""
        return len(self._waiting)

    @property
    def begun(self) -> int:
        """Prompts begun and not yet removed."""
        return len(self._begun)

    @property
    def next_to_begin(self) -> str | None:
        """The oldest waiting prompt; None if there is none, or no more may begin."""
        return self._waiting[0] if self._waiting and len(self._begun) < self._max_begun else None

    def begun_ids(self) -> list[str]:
        """Prompts begun and not yet removed, the next first."""
        return list(self._begun)

    def add(self, prompt_id: str) -> None:
        """A prompt arrives, behind all others."""
        self._waiting.append(prompt_id)

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended; unknown ids are ignored."""
        for queue in (self._waiting, self._begun):
            if prompt_id in queue:
                queue.remove(prompt_id)

    def take(self, *, begin: bool = True) -> str | None:
        """The prompt to take the next step, moved behind the others; None if there is none.

        `begin`: whether that may be one that has not begun.
        """
        if begin and self.next_to_begin is not None:
            # At once, before those begun: a new prompt's first sign of life comes soonest.
            self._begun.appendleft(self._waiting.popleft())
        if not self._begun:
            return None
        prompt_id = self._begun.popleft()
        self._begun.append(prompt_id)
        return prompt_id

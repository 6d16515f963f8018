"""Token counts of a text request."""

from __future__ import annotations

import msgspec

from aquahost.messages.prompts import Finished


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's `usage`."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UsageMeter:
    """Adds up a request's prompts. `n` replies to one prompt count its tokens once."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def add(self, index: int, finished: Finished) -> None:
        """Reply number `index` has ended."""
        if index % self._n == 0:
            self._prompt_tokens += finished.input_tokens
        self._completion_tokens += finished.output_tokens

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            total_tokens=self._prompt_tokens + self._completion_tokens,
        )

"""A trace: prompts by their arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KV_PROMPTS = 8
"""Prompts of mean length that a trace's KV memory has room for, unless it says otherwise."""
SLACK_TOKENS = 64
"""Beyond a prompt's own KV: the rest of its last block, and what a scheduler keeps free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePrompt:
    """One prompt to send."""

    number: int
    """Which prompt of the trace it is; what it says follows from that."""
    arrival_s: float
    """After the trace's begin."""
    input_tokens: int
    output_tokens: int
    tenant: str = ""
    model: str = ""
    """Empty for the one model that is measured."""
    size: float | None = None
    """Of an image: pixels; of a sound: seconds; None for what its model makes where a request does not say."""
    adapter: int | None = None
    """LoRA adapter that it asks for, by number."""
    steps: int | None = None
    """Of an image: denoising steps; None for what its model does where a request does not say."""

    @property
    def tokens(self) -> int:
        """What it takes of KV memory at its end."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Prompts in the order of their arrival."""

    name: str
    seed: int | None
    """None for a trace that was read."""
    prompts: tuple[TracePrompt, ...]
    kv_tokens: int
    """Tokens that the measured model's own GPU has room for."""
    max_batch: int | None = None
    """Most prompts of a step, where that is not to be the daemon's default."""

    @property
    def tenants(self) -> list[str]:
        """Names of the tenants, sorted; none where the trace has no tenants."""
        return sorted({prompt.tenant for prompt in self.prompts} - {""})

    @property
    def models(self) -> list[str]:
        """Names of the models that prompts ask for, sorted; "" is the one that is measured."""
        return sorted({prompt.model for prompt in self.prompts})

    @property
    def longest_tokens(self) -> int:
        """Input and output together of the longest prompt."""
        return max(prompt.tokens for prompt in self.prompts)


def in_order(prompts: Sequence[TracePrompt]) -> tuple[TracePrompt, ...]:
    """`prompts` by their arrival."""
    return tuple(sorted(prompts, key=lambda prompt: (prompt.arrival_s, prompt.number)))


def room_for(prompts: Sequence[TracePrompt], kv_tokens: int) -> int:
    """`kv_tokens`, or what the longest prompt needs if that is more: without room for it, it could not run at all."""
    return max(kv_tokens, max(prompt.tokens for prompt in prompts) + SLACK_TOKENS)


def kv_room(prompts: Sequence[TracePrompt], kv_prompts: float = KV_PROMPTS) -> int:
    """Tokens of KV memory for so many prompts of the mean length of `prompts`."""
    return room_for(prompts, round(kv_prompts * sum(prompt.tokens for prompt in prompts) / len(prompts)))

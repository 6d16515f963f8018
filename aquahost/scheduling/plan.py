"""What a scheduler decided for one step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from aquahost.scheduling.prompt import ScheduledPrompt


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a prompt's input to compute: `count` tokens from position `start`."""

    prompt: ScheduledPrompt
    start: int
    count: int

    @property
    def completes(self) -> bool:
        """Whether this is the prefill's last chunk, after which the prompt has its next token."""
        return self.start + self.count == self.prompt.tokens


class Growth(NamedTuple):
    """More blocks for a prompt, at the end of its table: local ones first."""

    prompt: ScheduledPrompt
    local: int
    remote: int
    """In slower memory, where attention will read them in place."""


class PageIn(NamedTuple):
    """A suspended prompt comes back: its first `local` blocks are copied, the others stay where they are."""

    prompt: ScheduledPrompt
    local: int


@dataclass(slots=True)
class StepPlan:
    """One step's work, and what must happen before it in this order: free `dropped`, start to page out `paged_out`
    and to page in `paged_in`, then give `grown` its blocks."""

    decodes: list[ScheduledPrompt] = field(default_factory=list)
    """Prompts that compute one token each."""
    chunks: list[Chunk] = field(default_factory=list)
    """Prefill, at most one chunk a prompt."""
    dropped: list[ScheduledPrompt] = field(default_factory=list)
    """Lost all their blocks; they will be prefilled again."""
    paged_out: list[ScheduledPrompt] = field(default_factory=list)
    """Begin to leave; the scheduler is told when they have `left`."""
    paged_in: list[PageIn] = field(default_factory=list)
    """Begin to arrive; the scheduler is told when they have `arrived`."""
    admitted: list[ScheduledPrompt] = field(default_factory=list)
    """Begin in this step, or begin again after they were dropped."""
    grown: list[Growth] = field(default_factory=list)
    """Who gets how many more blocks."""
    starved: ScheduledPrompt | None = None
    """A prompt that is alone, that no memory is coming for, and that cannot do without more than there is."""

    def forget(self, prompt: ScheduledPrompt) -> None:
        """Compute nothing of this prompt after all."""
        self.decodes = [one for one in self.decodes if one is not prompt]
        self.chunks = [chunk for chunk in self.chunks if chunk.prompt is not prompt]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.decodes and not self.chunks

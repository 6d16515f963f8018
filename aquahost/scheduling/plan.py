"""What a scheduler decided for one step."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True)
class StepPlan:
    """One step's work and what must happen before it, in this order: free `preempted`, then give `grown` its blocks."""

    decodes: list[ScheduledPrompt] = field(default_factory=list)
    """Prompts that compute one token each."""
    chunks: list[Chunk] = field(default_factory=list)
    """Prefill, at most one chunk a prompt."""
    preempted: list[ScheduledPrompt] = field(default_factory=list)
    """Lost all their blocks; they will be prefilled again."""
    admitted: list[ScheduledPrompt] = field(default_factory=list)
    """Begin in this step, or begin again after a preemption."""
    grown: list[tuple[ScheduledPrompt, int]] = field(default_factory=list)
    """Who gets how many more blocks."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return not self.decodes and not self.chunks

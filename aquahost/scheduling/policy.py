"""Who goes first: what a policy is asked and told by the scheduler that it decides for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.step_room import StepRoom


class PlaceInLine(NamedTuple):
    """A prompt that takes no part in steps now."""

    prompt_id: str
    position: int
    """1 for the next to go on."""
    next_slice_s: float | None
    """Estimate of when it goes on; None where that depends on when others end."""


class Policy(Protocol):
    """Pure: no clock of its own, no I/O."""

    def add(self, prompt: ScheduledPrompt) -> None:
        """A prompt is about to arrive."""
        ...

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended; unknown ids are ignored."""
        ...

    def waits(self, prompt: ScheduledPrompt) -> None:
        """A prompt can begin or come back from now on: it holds nothing, or has got out."""
        ...

    def decide(self, step: StepRoom, now_s: float) -> None:
        """Fill the step's plan within its room and its budget of tokens."""
        ...

    def served(self, plan: StepPlan, took_s: float) -> None:
        """A step was computed in so many device seconds."""
        ...

    def served_alike(self, prompts: Sequence[ScheduledPrompt], took_s: Sequence[float]) -> None:
        """Steps that decoded these prompts and did nothing else were computed, each in so many device seconds."""
        ...

    def service_s(self, prompt_id: str) -> float:
        """Device seconds that a live prompt has had."""
        ...

    def line(self) -> list[PlaceInLine]:
        """Who takes no part in steps, in the order in which they will go on."""
        ...

    @property
    def slice_s(self) -> float:
        """How long a prompt runs before it has to give way to another one; 0 where nobody has to."""
        ...

    @property
    def begins_all(self) -> bool:
        """Whether prompts that wait will begin soon, so that memory is wanted for all of them."""
        ...

"""A prompt on its way through a simulated node."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

from aquahost.messages.prompts import PromptState
from aquahost.traces.replies import Reply
from aquahost.traces.trace import TracePrompt


class SoFar(NamedTuple):
    """How far a model has come, with what is under way."""

    busy_s: float
    """Device time."""
    steps: int = 0
    """Of the steps that are taken at once those that have ended: each a token of every prompt that runs, which is
    counted nowhere else yet."""
    came_s: float = 0.0
    """When the first of them brought its tokens."""


@dataclass(slots=True, eq=False)
class SimPrompt:
    """One prompt and what has come of it."""

    id: str
    trace: TracePrompt
    arrived_s: float
    replica: int = 0
    """Which of its model's replicas has it."""
    state: PromptState = PromptState.WAITING
    came_s: array[float] = field(default_factory=lambda: array("d"))
    """When each token, or step, came."""
    steps: int = 0
    """How many it takes, for images and sounds."""
    service_s: float = 0.0
    """Device time that it had; set as it ends."""

    def reply(self, done_s: float, *, failure: str = "") -> Reply:
        """What its client has seen."""
        return Reply(
            prompt=self.trace,
            chunk_s=self.came_s,
            done_s=done_s,
            input_tokens=0 if self.steps else self.trace.input_tokens,
            output_tokens=0 if failure or self.steps else len(self.came_s),
            failure=failure,
        )

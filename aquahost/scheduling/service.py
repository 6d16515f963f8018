"""Device time that prompts have had, where nothing is decided by it."""

from __future__ import annotations

from collections.abc import Iterator

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.smoothing import smooth


def shares(plan: StepPlan, took_s: float) -> Iterator[tuple[ScheduledPrompt, float]]:
    """A step's time, shared among its prompts by the tokens computed of each."""
    tokens = len(plan.decodes) + sum(chunk.count for chunk in plan.chunks)
    each_s = took_s / max(1, tokens)
    for prompt in plan.decodes:
        yield prompt, each_s
    for chunk in plan.chunks:
        yield chunk.prompt, chunk.count * each_s


class Service:
    """Device seconds by live prompt."""

    def __init__(self) -> None:
        self._had_s: dict[str, float] = {}
        self.mean_of_ended_s = 0.0
        """What prompts that have ended had, smoothed."""

    def of(self, prompt_id: str) -> float:
        """What a prompt has had."""
        return self._had_s[prompt_id]

    def add(self, prompt_id: str) -> None:
        """A prompt arrives."""
        self._had_s[prompt_id] = 0.0

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended; unknown ids are ignored."""
        had_s = self._had_s.pop(prompt_id, 0.0)
        if had_s:
            self.mean_of_ended_s = smooth(self.mean_of_ended_s, had_s)

    def share(self, plan: StepPlan, took_s: float) -> None:
        """A step was computed."""
        for prompt, had_s in shares(plan, took_s):
            self._had_s[prompt.id] += had_s

"""First come, first served, with admission control, chunked prefill, and preemption by paging or else recomputation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policy import PlaceInLine
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.service import Service
from aquahost.scheduling.step_room import StepRoom


class Fcfs:
    """The classic engine's policy.

    Each step computes one token of every decoding prompt, then prefills in order of arrival with what is left of its
    budget. A prompt is admitted when its tokens fit and every running prompt could still grow by the headroom. When
    blocks run out nevertheless, the youngest running prompt gives way: paged out if slower memory has room, else it is
    dropped and prefilled again. A prompt that is alone and still lacks blocks grows into slower memory, where attention
    reads them in place.
    """

    def __init__(self) -> None:
        self._service = Service()
        self._waiting: list[ScheduledPrompt] = []
        """Of the last step, in order of arrival."""

    @property
    def slice_s(self) -> float:
        """Nobody has to give way for another's sake."""
        return 0.0

    @property
    def begins_all(self) -> bool:
        """They begin when there is room for them."""
        return False

    def add(self, prompt: ScheduledPrompt) -> None:
        """Keep count of what it has."""
        self._service.add(prompt.id)

    def remove(self, prompt_id: str) -> None:
        """Learn how much prompts have before they end."""
        self._service.remove(prompt_id)

    def waits(self, prompt: ScheduledPrompt) -> None:
        """Nothing: prompts are kept in order of arrival anyhow."""

    def served(self, plan: StepPlan, took_s: float) -> None:
        """Keep count."""
        self._service.share(plan, took_s)

    def served_alike(self, prompts: Sequence[ScheduledPrompt], took_s: Sequence[float]) -> None:
        """Keep count."""
        self._service.share(StepPlan(decodes=list(prompts)), sum(took_s))

    def service_s(self, prompt_id: str) -> float:
        """Device seconds that a live prompt has had."""
        return self._service.of(prompt_id)

    def line(self) -> list[PlaceInLine]:
        """In order of arrival: a prompt goes on when those before it have had what prompts had so far."""
        each_s = self._service.mean_of_ended_s
        return [PlaceInLine(prompt.id, at, at * each_s) for at, prompt in enumerate(self._waiting, 1)]

    def decide(self, step: StepRoom, now_s: float) -> None:
        """Decode, then prefill, then admit."""
        provide = partial(self._provide, step)
        running = step.prompts.running
        at = 0
        while at < len(running):
            prompt = running[at]
            at += 1
            if prompt.remaining == 1:
                step.decode(prompt, provide)
        for prompt in list(running):
            if prompt.remaining > 1 and prompt.stand is Stand.RUNNING:
                step.prefill(prompt, provide)
        # Not right after someone gave way: he would take back the blocks that he was made to give up.
        while step.budget > 0 and step.prompts.waiting and not (step.plan.dropped or step.plan.paged_out):
            prompt = step.prompts.waiting[0]
            if not self._admit(step, prompt):
                break
            if prompt.stand is Stand.RUNNING:
                step.prefill(prompt, provide)
        self._waiting = step.prompts.waiting

    def _provide(self, step: StepRoom, prompt: ScheduledPrompt, tokens: int) -> bool:
        """Younger prompts give way, from the young end, unless this step computes them already. What they free by being
        paged out comes later: until then nobody else is made to leave for the same want."""
        missing = step.sizes.blocks_for(tokens) - prompt.blocks
        plan = step.plan
        while missing > step.local:
            if step.more or missing <= step.local + step.coming:
                return False
            victim = step.prompts.running[-1]
            if step.is_alone(prompt):
                return step.overflow(prompt, missing)
            if victim is prompt or victim in plan.decodes or any(chunk.prompt is victim for chunk in plan.chunks):
                return False
            step.give_way(victim)
        if missing > 0:
            step.grow(prompt, missing, 0)
        return True

    def _admit(self, step: StepRoom, prompt: ScheduledPrompt) -> bool:
        """Let the first in the queue begin, or come back, if there is room for it."""
        if prompt.stand is Stand.LEAVING or step.active >= step.sizes.max_running:
            return False
        if not step.active and not step.coming:
            return step.seat_alone(prompt)
        headroom = step.sizes.headroom_tokens
        if step.blocks_ahead(prompt, headroom) + step.growth(headroom) > step.local:
            return False
        step.seat(prompt, step.sizes.blocks_for(prompt.tokens))
        return True

"""Time slices: whoever has had least goes on next, so that under a burst every prompt starts answering at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from aquahost.scheduling.fair_step import FairStep, SliceTerms
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policy import PlaceInLine
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.room import Costs
from aquahost.scheduling.service import shares
from aquahost.scheduling.slicer import UNKNOWN, Slicer, StepTimes
from aquahost.scheduling.step_room import StepRoom
from aquahost.scheduling.virtual_time import VirtualTime
from aquahost.scheduling.waiting_line import WaitingLine

LEAST_SERVICE_S = 1e-7
"""A token's least cost, where the clock is too coarse to tell: whoever ran must have had something."""
SHARED_S = 30.0
"""How long after prompts of two tenants met steps are kept short for the next such meeting."""
SLICING_PERIOD_S = 0.05
"""How often the slice's length is worked out."""


class Fair:
    """Hierarchical fairness by virtual time, in slices.

    Prompts are exchanged one by one, not all at once: whoever has had its slice gives way to one that has had less, and
    is paged out while the others compute on. New prompts need not wait for a slice's end: they are prefilled at once.
    Where a neighbour's link is so fast that reading a prompt's KV in place costs no more than its tokens do, it runs
    from there, and the batch is not bounded by local memory. When everything fits, nobody gives way.
    """

    def __init__(self, *, paging_budget: float, by_level: bool = False, known: StepTimes | None = None) -> None:
        """`by_level`: smaller levels go before all others (the policy "priority"). `known`: of a profile."""
        self._fairness = VirtualTime()
        self._line = WaitingLine(self._fairness, by_level=by_level)
        self._slicer = Slicer(paging_budget, known or UNKNOWN)
        self._by_level = by_level
        self._now_s = 0.0
        self._slice_s = 0.0
        self._sliced_s = -inf
        self._residents = 1
        self._top_level = 0
        """The smallest that ran in the last step."""
        self._was_express = False
        self._has_rested = False
        """Whether those who are read in place took no part in the last step."""
        self._costs = Costs()
        self._shared_until_s = -inf
        """Until when tenants are taken to be in each other's way."""

    # -- what it is asked --------------------------------------------------------------------------------------

    @property
    def slice_s(self) -> float:
        """How long a prompt runs before it has to give way."""
        return self._slice_s

    @property
    def longest_wait_s(self) -> float:
        """Whoever waits for longer goes before all others of its tenant that have begun."""
        return 2 * (1 + len(self._line) / self._residents) * self._slice_s

    @property
    def begins_all(self) -> bool:
        """Every prompt begins soon."""
        return True

    def service_s(self, prompt_id: str) -> float:
        """Device seconds that a live prompt has had."""
        return self._fairness.service_s(prompt_id)

    def line(self) -> list[PlaceInLine]:
        """In the order of virtual time: in a slice, as many go on as run at a time. Lower levels go on when there is
        nobody left above them."""
        each_s = self._slice_s / self._residents
        return [
            PlaceInLine(prompt.id, at, None if self._by_level and prompt.level > self._top_level else at * each_s)
            for at, prompt in enumerate(self._line.in_order(), 1)
        ]

    # -- what it is told ---------------------------------------------------------------------------------------

    def add(self, prompt: ScheduledPrompt) -> None:
        """A prompt arrives with its tenant's weight."""
        level = prompt.level if self._by_level else 0
        self._fairness.add(prompt.id, prompt.tenant, weight=prompt.weight, level=level)

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended."""
        self._line.discard(prompt_id)
        self._fairness.remove(prompt_id)

    def waits(self, prompt: ScheduledPrompt) -> None:
        """It gets into the line."""
        prompt.since_s = self._now_s
        self._line.put(prompt)

    def served(self, plan: StepPlan, took_s: float) -> None:
        """Share the step's time among its prompts, and learn what steps cost."""
        self._slicer.note_step(plan, took_s, self._costs)
        tokens = len(plan.decodes) + sum(chunk.count for chunk in plan.chunks)
        for prompt, had_s in shares(plan, max(took_s, tokens * LEAST_SERVICE_S)):
            self._fairness.serve(prompt.id, had_s)
        for prompt in plan.decodes:
            prompt.yielded += 1
        for chunk in plan.chunks:
            chunk.prompt.yielded += chunk.completes

    def served_alike(self, prompts: Sequence[ScheduledPrompt], took_s: Sequence[float]) -> None:
        """As `served` for each of the steps, at once."""
        self._was_express = False
        for step_s in took_s:
            self._slicer.note_decodes(len(prompts), step_s)
        had_s = max(sum(took_s) / len(prompts), len(took_s) * LEAST_SERVICE_S)
        for prompt in prompts:
            self._fairness.serve(prompt.id, had_s)
            prompt.yielded += len(took_s)

    # -- a step ------------------------------------------------------------------------------------------------

    def decide(self, step: StepRoom, now_s: float) -> None:
        """Exchange who runs, then decode and prefill whoever does."""
        self._now_s = now_s
        self._costs = step.costs
        running = step.prompts.running
        if running and now_s - self._sliced_s >= SLICING_PERIOD_S:
            self._slice_s = self._slicer.slice_s(running, step.costs, step.remote)
            self._sliced_s = now_s
        self._residents = max(1, len(running))
        self._top_level = min((prompt.level for prompt in running), default=0)
        terms = SliceTerms(
            now_s=now_s, slice_s=self._slice_s, longest_wait_s=self.longest_wait_s, token_s=self._slicer.token_s
        )
        fair = FairStep(step, self._fairness, self._line, terms)
        if len(self._line):
            fair.let_in()
        else:
            fair.bring_home()
        decoding = [prompt for prompt in running if prompt.remaining == 1 and prompt.computed]
        prefilling = [prompt for prompt in running if prompt.remaining > 1 or not prompt.computed]
        prefilling.sort(key=self._prefill_rank)
        if self._fairness.tenants > 1:
            self._shared_until_s = now_s + SHARED_S
        is_shared = now_s < self._shared_until_s
        # New prompts wait for the end of the step before, which another tenant should not make long.
        prefill_tokens = self._slicer.short_prefill if is_shared else step.budget
        express = self._express(prefilling) if is_shared else []
        self._was_express = bool(express)
        if express:
            # All of the first one's input at once: another step between would be another tenant's.
            step.budget = min(step.budget, max(2 * prefill_tokens, express[0].remaining))
            fair.prefill(express)
            return
        fair.decode(self._without_resting(decoding, prefilling))
        step.budget = min(step.budget, prefill_tokens)
        fair.prefill(prefilling)

    def _without_resting(
        self, decoding: list[ScheduledPrompt], prefilling: list[ScheduledPrompt]
    ) -> list[ScheduledPrompt]:
        """Those who take part beside prefill: while new prompts wait for a first token, whoever is read in place rests
        in every other step, which reading would make longer."""
        self._has_rested = not self._has_rested and any(not prompt.has_begun for prompt in prefilling)
        return [one for one in decoding if one.local == one.blocks] if self._has_rested else decoding

    def _express(self, prefilling: list[ScheduledPrompt]) -> list[ScheduledPrompt]:
        """New prompts of the tenant that has had least: every other step may be theirs alone, so that another tenant's
        prompts do not make their first token late."""
        if self._was_express or not prefilling or prefilling[0].has_begun:
            return []
        first = prefilling[0]
        if not self._fairness.is_behind(first.id):
            return []
        return [prompt for prompt in prefilling if prompt.tenant == first.tenant and not prompt.has_begun]

    def _prefill_rank(self, prompt: ScheduledPrompt) -> tuple[int, float, bool, int]:
        """A tenant's new prompts first: the time to their first token is what their users feel."""
        rank = self._fairness.rank(prompt.id)
        return rank.level, rank.tenant_time, prompt.has_begun, rank.arrival

"""One step under fairness: who comes in, who gives way, and where each prompt's next blocks lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.step_room import StepRoom
from aquahost.scheduling.virtual_time import Rank, VirtualTime
from aquahost.scheduling.waiting_line import WaitingLine

MOST_SEATED = 16
"""Prompts that one step lets in, so that a decision takes a bounded time however many wait."""
LEAST_TOKENS = 4
"""A slice of fewer tokens would be spent on coming and going, each of which takes a step to be noticed."""
MOST_WAITED_FOR = 4
"""Prompts that others give way to in one step while they wait for what comes free."""
WORTH_COMING_HOME_TOKENS = 16
"""A prompt that has fewer tokens to go ends where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTerms:
    """What holds for this step."""

    now_s: float
    slice_s: float
    """How long a prompt runs before it gives way to one that has had less."""
    longest_wait_s: float
    """Who has begun and waits for longer goes first."""
    token_s: float
    """Device time that a token costs at present; reading KV in place may cost a prompt as much."""


class Outcome(Enum):
    """What came of letting others give way to a prompt."""

    SEATED = "it has a place"
    WAITS = "it will have one when somebody has left"
    IN_VAIN = "nobody has a weaker claim"


class FairStep:
    """Makes the decisions of one step, in `step`."""

    def __init__(self, step: StepRoom, fairness: VirtualTime, line: WaitingLine, terms: SliceTerms) -> None:
        self._step = step
        self._fairness = fairness
        self._line = line
        self._terms = terms
        self._by_rank: list[tuple[Rank, ScheduledPrompt]] | None = None
        """Those that ran as the step began, whoever has had least first; made when somebody must give way."""
        self._computed: set[str] = set()
        self._reserve = 0
        """Local blocks that are spoken for: for growth, and for those who wait for somebody to leave."""
        reads_in_place = step.costs.peer_block_s is not None and step.peer > 0
        self._headroom = step.sizes.block_tokens if reads_in_place else step.sizes.headroom_tokens

    # -- who runs ----------------------------------------------------------------------------------------------

    def let_in(self) -> None:
        """Give places to those who are next, as far as there is room for them or somebody has to give way."""
        overdue_since_s = self._terms.now_s - self._terms.longest_wait_s
        waited_for: list[ScheduledPrompt] = []
        only_new = False
        self._reserve = self._step.growth(self._headroom)
        for _ in range(MOST_SEATED):
            prompt = self._line.take(overdue_since_s, only_new=only_new)
            if prompt is None:
                break
            if self._seat(prompt):
                continue
            is_overdue = prompt.since_s < overdue_since_s
            outcome = self._make_way(prompt, is_overdue)
            if outcome is Outcome.SEATED:
                continue
            waited_for.append(prompt)
            if len(waited_for) == MOST_WAITED_FOR or (outcome is Outcome.IN_VAIN and only_new):
                break
            # Of those that have begun nobody has a better claim on others' places; new ones of other tenants may.
            only_new = outcome is Outcome.IN_VAIN
            if outcome is Outcome.WAITS:
                self._reserve += self._step.sizes.blocks_for(prompt.tokens)
        for prompt in waited_for:
            self._line.put(prompt)

    def bring_home(self) -> None:
        """Nobody waits: if there is local room, let a prompt that is read in place come back to local memory."""
        step = self._step
        if step.prompts.arriving or step.coming:
            return
        away = [p for p in step.prompts.running if p.local < p.blocks and p.remaining == 1]
        away = [p for p in away if p.max_tokens - p.tokens > WORTH_COMING_HOME_TOKENS]
        if not away:
            return
        prompt = max(away, key=lambda one: one.blocks - one.local)
        if prompt.blocks - prompt.local + step.growth(self._headroom) <= step.local:
            step.page_in(prompt, prompt.blocks)
            prompt.hosted = 0

    def _seat(self, prompt: ScheduledPrompt) -> bool:
        """Let a prompt in if there is room without anybody giving way."""
        step = self._step
        needed = step.sizes.blocks_for(prompt.tokens)
        if not step.active and not step.coming:
            seated = step.seat_alone(prompt)
        elif step.active >= step.sizes.max_running:
            return False
        elif step.blocks_ahead(prompt, self._headroom) + self._reserve <= step.local:
            step.seat(prompt, needed)
            seated = True
        else:
            seated = self._could_read_in_place(prompt)
            if seated:
                step.seat(prompt, 0, needed)
        if seated:
            prompt.since_s, prompt.yielded = self._terms.now_s, 0
            self._reserve += step.blocks_ahead(prompt, self._headroom) - prompt.blocks
        return seated

    def _could_read_in_place(self, prompt: ScheduledPrompt) -> bool:
        """Whether a prompt that waits could take part from slower memory."""
        lacking = self._step.sizes.blocks_for(prompt.tokens) - prompt.blocks
        return not self._step.more and lacking < self._step.peer and self._may_read_in_place(prompt, lacking)

    def _make_way(self, prompt: ScheduledPrompt, is_overdue: bool) -> Outcome:
        """Let others give way to a prompt, but only as many as are enough, and nobody if all are not."""
        step, headroom = self._step, self._headroom
        lacks_place = step.active >= step.sizes.max_running
        lacking = step.blocks_ahead(prompt, headroom) + self._reserve - step.local - step.coming
        if not lacks_place and (step.more or lacking <= 0):
            return Outcome.WAITS
        victims: list[ScheduledPrompt] = []
        in_place = self._could_read_in_place(prompt)
        while lacks_place or (lacking > 0 and not in_place):
            victim = self._victim(prompt, is_overdue, victims, holding_blocks=not lacks_place)
            if victim is None:
                break
            victims.append(victim)
            lacks_place = False
            # Its own growth is not to be reserved any more either.
            lacking -= victim.local + step.blocks_ahead(victim, headroom) - victim.blocks
        # Whoever is alone then has all there is.
        if lacks_place or (lacking > 0 and not in_place and len(victims) < step.active):
            return Outcome.IN_VAIN
        for victim in victims:
            self._reserve -= step.blocks_ahead(victim, headroom) - victim.blocks
            step.give_way(victim)
        return Outcome.SEATED if self._seat(prompt) else Outcome.WAITS

    def _victim(
        self, prompt: ScheduledPrompt, is_overdue: bool, chosen: list[ScheduledPrompt], *, holding_blocks: bool
    ) -> ScheduledPrompt | None:
        """Who else has the weakest claim on its place, if that is weaker than this prompt's."""
        mine, terms = self._fairness.rank(prompt.id), self._terms
        level, had = mine.level, mine[:3]
        latest_s = terms.now_s - terms.slice_s
        for theirs, victim in reversed(self._ranked()):
            if victim.stand is not Stand.RUNNING or victim.remaining > 1 or not victim.yielded:
                continue  # it has left, or has not had a token yet for the way that it came
            if (holding_blocks and not victim.local) or victim in chosen:
                continue
            if level != theirs.level:
                if level < theirs.level:
                    return victim
            elif not prompt.has_begun:
                # At once; but not for a tenant that has had more than others, whose prompts never stop coming.
                if mine.tenant_time <= theirs.tenant_time + terms.slice_s:
                    return victim
            elif victim.since_s > latest_s or victim.yielded < LEAST_TOKENS:
                continue
            elif had < theirs[:3] or (is_overdue and mine.tenant_time <= theirs.tenant_time):
                return victim
        return None

    def _ranked(self) -> list[tuple[Rank, ScheduledPrompt]]:
        if self._by_rank is None:
            rank = self._fairness.rank
            self._by_rank = sorted((rank(one.id), one) for one in self._step.prompts.running)
        return self._by_rank

    # -- blocks ------------------------------------------------------------------------------------------------

    def decode(self, prompts: Iterable[ScheduledPrompt]) -> None:
        """Compute a token of each of these that still runs."""
        for prompt in prompts:
            if prompt.stand is Stand.RUNNING:
                self._step.decode(prompt, self._provide)
                self._computed.add(prompt.id)

    def prefill(self, prompts: Iterable[ScheduledPrompt]) -> None:
        """Compute as much of these that still run as the step's budget allows, in this order."""
        for prompt in prompts:
            if prompt.stand is Stand.RUNNING:
                self._step.prefill(prompt, self._provide)
                self._computed.add(prompt.id)

    def _provide(self, prompt: ScheduledPrompt, tokens: int) -> bool:
        step = self._step
        missing = step.sizes.blocks_for(tokens) - prompt.blocks
        if missing <= 0:
            return True
        while missing > step.local:
            if step.is_alone(prompt):
                return not step.more and step.overflow(prompt, missing)
            remote = missing - step.local
            if remote <= step.peer and self._may_read_in_place(prompt, remote):
                step.grow(prompt, step.local, remote)
                return True
            if step.more or missing <= step.local + step.coming:
                return False
            victim = self._last_not_computed(prompt)
            step.give_way(victim)
            if victim is prompt:
                return False
        step.grow(prompt, missing, 0)
        return True

    def _last_not_computed(self, prompt: ScheduledPrompt) -> ScheduledPrompt:
        """Who gives way for want of blocks: the weakest claim, perhaps the prompt's own."""
        for _, victim in reversed(self._ranked()):
            if victim.stand is Stand.RUNNING and victim.local and victim.id not in self._computed:
                return victim
        return prompt

    def _may_read_in_place(self, prompt: ScheduledPrompt, more: int) -> bool:
        """Whether reading its remote blocks, and so many more leased ones, in place costs no more than a token."""
        costs = self._step.costs
        if costs.peer_block_s is None or (prompt.hosted and costs.host_block_s is None):
            return False
        remote = prompt.blocks - prompt.local if prompt.stand is not Stand.WAITING else 0
        read_s = (remote - prompt.hosted + more) * costs.peer_block_s + prompt.hosted * (costs.host_block_s or 0.0)
        return read_s <= self._terms.token_s

"""First come, first served, with admission control, chunked prefill, and preemption by paging or else recomputation."""

from __future__ import annotations

from typing import NamedTuple

from aquahost.scheduling.live_prompts import LivePrompts
from aquahost.scheduling.plan import Chunk, Growth, PageIn, StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt, Stand

HASTY_STEP_TOKENS = 64


class Room(NamedTuple):
    """Free KV blocks as a step begins."""

    local: int
    remote: int
    """In slower memory, what could be mapped there included."""
    more: bool = False
    """Whether more local blocks are on their way; then nobody is made to use slower memory for want of them."""
    in_haste: bool = False
    """Whether the step should be short: memory is wanted back, which changes hands between two steps."""


class FcfsScheduler:
    """Owns the queue and the running prompts; the blocks are the block pool's.

    Each step computes one token of every decoding prompt, then prefills in order of arrival with what is left of
    `step_tokens`. A prompt is admitted when its tokens fit and every running prompt could still grow by
    `headroom_tokens`. When blocks run out nevertheless, the youngest running prompt gives way: paged out if slower
    memory has room, else it is dropped and prefilled again. A prompt that is alone and still lacks blocks grows into
    slower memory, where attention reads them in place.
    """

    def __init__(
        self, *, most_blocks: int, block_tokens: int, step_tokens: int, max_batch: int, headroom_tokens: int = 64
    ) -> None:
        """`most_blocks`: what a prompt that is alone can surely have, in all tiers together."""
        if min(most_blocks, block_tokens, step_tokens, max_batch) < 1:
            raise ValueError("most_blocks, block_tokens, step_tokens and max_batch must be at least 1")
        self._most_blocks = most_blocks
        self._block_tokens = block_tokens
        self._step_tokens = step_tokens
        self._max_running = min(max_batch, step_tokens)  # so that every decoding prompt has its token in every step
        self._headroom_tokens = headroom_tokens
        self.prompts = LivePrompts()
        """Who stands where; to be told when a prompt has left or arrived, or when its blocks are lost."""
        self._room = Room(0, 0)

    # -- what there is -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Prompts that hold nothing: new ones and dropped ones."""
        return sum(prompt.stand is Stand.WAITING for prompt in self.prompts.waiting)

    @property
    def running(self) -> int:
        """Prompts that take part in steps."""
        return len(self.prompts.running)

    @property
    def suspended(self) -> int:
        """Prompts that are paged out, or on their way out or back."""
        return len(self.prompts) - self.waiting - self.running

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest prompt that can ever run; the last token needs no room, nothing attends to it."""
        return self._most_blocks * self._block_tokens + 1

    def blocks_wanted(self, lookahead_tokens: int) -> int:
        """Blocks that all live prompts would hold if each had so many tokens more, or had ended before."""
        return sum(self._blocks_ahead(prompt, lookahead_tokens) for prompt in self.prompts.by_arrival)

    def begun_blocks_wanted(self, lookahead_tokens: int) -> int:
        """The same for those that have begun, and for the first of those that wait."""
        waiting = [prompt for prompt in self.prompts.waiting if prompt.stand is Stand.WAITING]
        begun = [prompt for prompt in self.prompts.by_arrival if prompt.stand is not Stand.WAITING]
        return sum(self._blocks_ahead(prompt, lookahead_tokens) for prompt in [*begun, *waiting[:1]])

    def add(self, prompt: ScheduledPrompt) -> None:
        """Put a new prompt at the queue's end; raises ValueError if it could never run."""
        if not 0 < prompt.tokens < prompt.max_tokens <= self.max_tokens:
            raise ValueError(f"prompt of {prompt.tokens} to {prompt.max_tokens} tokens; at most {self.max_tokens} fit")
        self.prompts.add(prompt)

    def remove(self, prompt_id: str) -> ScheduledPrompt | None:
        """Forget a prompt, finished or cancelled. None if the id is unknown."""
        return self.prompts.remove(prompt_id)

    # -- steps -------------------------------------------------------------------------------------------------

    def plan(self, room: Room) -> StepPlan:
        """The next step. What it gives and takes counts as done, so it must be carried out and then committed."""
        self._room = room
        plan = StepPlan()
        most_tokens = min(self._step_tokens, HASTY_STEP_TOKENS) if room.in_haste else self._step_tokens
        budget = max(0, most_tokens - self._plan_decodes(plan))
        for prompt in list(self.prompts.running):
            if budget and prompt.remaining > 1 and prompt.stand is Stand.RUNNING:
                budget -= self._plan_chunk(plan, prompt, budget)
        # Not right after someone gave way: he would take back the blocks that he was made to give up.
        while budget and self.prompts.waiting and not (plan.dropped or plan.paged_out):
            prompt = self.prompts.waiting[0]
            if not self._admit(plan, prompt):
                break
            if prompt.stand is Stand.RUNNING:
                budget -= self._plan_chunk(plan, prompt, budget)
        return plan

    def commit(self, plan: StepPlan) -> None:
        """The step was computed: decodes and completed prefills have one more token each."""
        for prompt in plan.decodes:
            prompt.computed += 1
            prompt.tokens += 1
        for chunk in plan.chunks:
            completes = chunk.completes
            chunk.prompt.computed += chunk.count
            if completes:
                chunk.prompt.tokens += 1

    def check(self) -> None:
        """Raise AssertionError unless every prompt is where its stand says and has room for its KV."""
        self.prompts.check()
        for prompt in self.prompts.by_arrival:
            assert prompt.blocks * self._block_tokens >= prompt.computed, "KV without a block"
            assert 0 <= prompt.local <= prompt.blocks, "more local blocks than blocks"
            if prompt.stand is Stand.WAITING:
                assert prompt.blocks == prompt.computed == 0, "a waiting prompt holds blocks"

    # -- decodes and chunks ------------------------------------------------------------------------------------

    def _plan_decodes(self, plan: StepPlan) -> int:
        """Plan one token of each decoding prompt, oldest first; return the tokens."""
        at = 0
        while at < len(self.prompts.running):
            prompt = self.prompts.running[at]
            at += 1
            if prompt.remaining == 1 and self._provide(plan, prompt, prompt.tokens):
                plan.decodes.append(prompt)
        return len(plan.decodes)

    def _plan_chunk(self, plan: StepPlan, prompt: ScheduledPrompt, budget: int) -> int:
        count = min(prompt.remaining, budget)
        if not self._provide(plan, prompt, prompt.computed + count):
            return 0
        plan.chunks.append(Chunk(prompt, prompt.computed, count))
        return count

    def _provide(self, plan: StepPlan, prompt: ScheduledPrompt, tokens: int) -> bool:
        """Give a running prompt the blocks for so many tokens; False if it must do without this step.

        Younger prompts give way, from the young end, unless this step computes them already. What they free by being
        paged out comes later: until then nobody else is made to leave for the same want.
        """
        missing = self._blocks_for(tokens) - prompt.blocks
        while missing > self._room.local:
            coming = self.prompts.leaving_blocks
            if self._room.more or missing <= self._room.local + coming:
                return False
            victim = self.prompts.running[-1]
            if len(self.prompts.running) == 1 and not self.prompts.arriving and not coming:
                return self._overflow(plan, prompt, missing)
            if victim is prompt or victim in plan.decodes or any(chunk.prompt is victim for chunk in plan.chunks):
                return False
            self._give_way(plan, victim)
        if missing > 0:
            self._grow(plan, prompt, missing, 0)
        return True

    def _overflow(self, plan: StepPlan, prompt: ScheduledPrompt, missing: int) -> bool:
        """Let the only prompt that runs grow into slower memory, at the cost of those suspended there."""
        local = self._room.local
        if not self._make_remote_room(plan, prompt, missing - local):
            plan.starved = prompt
            return False
        self._grow(plan, prompt, local, missing - local)
        return True

    def _make_remote_room(self, plan: StepPlan, keeper: ScheduledPrompt, blocks: int) -> bool:
        """Drop suspended prompts, the youngest first, until slower memory has room; False if it can't have."""
        victims = [p for p in self.prompts.waiting if p.stand is Stand.SUSPENDED and p is not keeper]
        if blocks > self._room.remote + sum(p.blocks for p in victims):
            return False
        while blocks > self._room.remote:
            victim = victims.pop()
            self._room = self._room._replace(remote=self._room.remote + victim.blocks)
            self.prompts.empty(victim)
            plan.dropped.append(victim)
        return True

    def _give_way(self, plan: StepPlan, victim: ScheduledPrompt) -> None:
        """Take a running prompt out: paged out if there is anything to keep and room for it, else dropped."""
        kept = self._blocks_for(victim.computed)
        local = min(victim.local, kept)
        if kept and local <= self._room.remote:
            self._room = self._room._replace(remote=self._room.remote - local)
            victim.blocks, victim.local = kept, local
            self.prompts.move(victim, Stand.LEAVING)
            plan.paged_out.append(victim)
            return
        self._room = self._room._replace(local=self._room.local + victim.local)
        self.prompts.empty(victim)
        plan.dropped.append(victim)

    # -- admission ---------------------------------------------------------------------------------------------

    def _admit(self, plan: StepPlan, prompt: ScheduledPrompt) -> bool:
        """Let the first in the queue begin, or come back, if there is room for it."""
        active = len(self.prompts.running) + len(self.prompts.arriving)
        if prompt.stand is Stand.LEAVING or active >= self._max_running:
            return False
        needed = self._blocks_for(prompt.tokens)
        if not active and not self.prompts.leaving_blocks:
            # Alone, whatever is live fits somewhere: `add` saw to it.
            local = min(needed, self._room.local)
            if local < needed and self._room.more:
                return False
            if not self._make_remote_room(plan, prompt, needed - max(local, prompt.blocks)):
                plan.starved = prompt
                return False
        elif self._blocks_ahead(prompt, self._headroom_tokens) + self._growth() <= self._room.local:
            local = needed
        else:
            return False
        if prompt.blocks:
            self._page_in(plan, prompt, local)
        else:
            self.prompts.move(prompt, Stand.RUNNING)
            self._grow(plan, prompt, local, needed - local)
            plan.admitted.append(prompt)
        return True

    def _page_in(self, plan: StepPlan, prompt: ScheduledPrompt, local: int) -> None:
        """What it lacks beyond its blocks it is given once it runs."""
        prompt.local = min(local, prompt.blocks)
        self.prompts.move(prompt, Stand.ARRIVING)
        self._room = self._room._replace(local=self._room.local - prompt.local)
        plan.paged_in.append(PageIn(prompt, prompt.local))

    def _growth(self) -> int:
        """Blocks that those who run or arrive may want soon."""
        active = [*self.prompts.running, *self.prompts.arriving]
        return sum(self._blocks_ahead(prompt, self._headroom_tokens) - prompt.blocks for prompt in active)

    def _blocks_ahead(self, prompt: ScheduledPrompt, tokens: int) -> int:
        """Blocks of a prompt that is so many tokens further on, or at its end."""
        return self._blocks_for(min(prompt.tokens + tokens, prompt.max_tokens - 1))

    # -- pieces ------------------------------------------------------------------------------------------------

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self._block_tokens)

    def _grow(self, plan: StepPlan, prompt: ScheduledPrompt, local: int, remote: int) -> None:
        prompt.blocks += local + remote
        prompt.local += local
        self._room = self._room._replace(local=self._room.local - local, remote=self._room.remote - remote)
        plan.grown.append(Growth(prompt, local, remote))

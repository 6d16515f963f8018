"""The scheduler of one language model: its live prompts, and the steps that a policy plans for them."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.scheduling.live_prompts import LivePrompts
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policy import Policy
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Room
from aquahost.scheduling.sizes import Sizes
from aquahost.scheduling.step_room import StepRoom

HASTY_STEP_TOKENS = 64


class Scheduler:
    """Owns the queue and the running prompts; the blocks are the block pool's.

    Each step is planned, carried out, and then committed. Pure: time is what it is told.
    """

    def __init__(self, sizes: Sizes, policy: Policy) -> None:
        self._sizes = sizes
        self.policy = policy
        """Decides who runs."""
        self.prompts = LivePrompts(policy.waits)
        """Who stands where; to be told when a prompt has left or arrived, or when its blocks are lost."""

    # -- what there is -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Prompts that hold nothing: new ones and dropped ones."""
        return self.prompts.count(Stand.WAITING)

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
        return self._sizes.most_blocks * self._sizes.block_tokens + 1

    def blocks_wanted(self, lookahead_tokens: int, most: int) -> int:
        """Blocks that all live prompts would hold if each had so many tokens more, or had ended before; `most` if that
        is less."""
        wanted, block_tokens = 0, self._sizes.block_tokens
        for prompt in self.prompts.by_arrival:  # as `_blocks_ahead`, in place: for every live prompt, step after step
            ahead, last = prompt.tokens + lookahead_tokens, prompt.max_tokens - 1
            wanted -= -(ahead if ahead < last else last) // block_tokens  # noqa: FURB136 (a call each costs more)
            if wanted >= most:
                return most
        return wanted

    def begun_blocks_wanted(self, lookahead_tokens: int, most: int) -> int:
        """The same for those that have begun and those that will have soon."""
        if self.policy.begins_all:
            return self.blocks_wanted(lookahead_tokens, most)
        first = next((prompt for prompt in self.prompts.waiting if prompt.stand is Stand.WAITING), None)
        wanted = 0
        for prompt in self.prompts.by_arrival:
            if prompt.stand is not Stand.WAITING or prompt is first:
                wanted += self._blocks_ahead(prompt, lookahead_tokens)
                if wanted >= most:
                    return most
        return wanted

    # -- prompts -----------------------------------------------------------------------------------------------

    def add(self, prompt: ScheduledPrompt) -> None:
        """Put a new prompt at the queue's end; raises ValueError if it could never run, or if its id is taken."""
        if not 0 < prompt.tokens < prompt.max_tokens <= self.max_tokens:
            raise ValueError(f"prompt of {prompt.tokens} to {prompt.max_tokens} tokens; at most {self.max_tokens} fit")
        if prompt.id in self.prompts:
            raise ValueError(f"prompt {prompt.id} is already scheduled")
        self.policy.add(prompt)
        self.prompts.add(prompt)

    def remove(self, prompt_id: str) -> ScheduledPrompt | None:
        """Forget a prompt, finished or cancelled. None if the id is unknown."""
        self.policy.remove(prompt_id)
        return self.prompts.remove(prompt_id)

    # -- steps -------------------------------------------------------------------------------------------------

    def plan(self, room: Room, now_s: float) -> StepPlan:
        """The next step. What it gives and takes counts as done, so it must be carried out and then committed."""
        most_tokens = self._sizes.step_tokens
        budget = min(most_tokens, HASTY_STEP_TOKENS) if room.in_haste else most_tokens
        step = StepRoom(self.prompts, self._sizes, room, budget)
        self.policy.decide(step, now_s)
        return step.plan

    def commit(self, plan: StepPlan, took_s: float) -> None:
        """The step was computed in so many seconds: decodes and completed prefills have one more token each."""
        self.policy.served(plan, took_s)
        for prompt in plan.decodes:
            prompt.computed += 1
            prompt.tokens += 1
            prompt.has_begun = True
        for chunk in plan.chunks:
            completes = chunk.completes
            chunk.prompt.computed += chunk.count
            if completes:
                chunk.prompt.tokens += 1
                chunk.prompt.has_begun = True

    # -- many steps at once ------------------------------------------------------------------------------------

    def steady_steps(self, room: Room) -> int:
        """How many coming steps will surely compute one token of each prompt that runs and do nothing else, unless a
        prompt comes or goes or memory does: all live prompts decode, from local memory, which has room for as many
        tokens, and none is at its end. 0 where that cannot be said."""
        running = self.prompts.running
        if not running or len(running) < len(self.prompts) or room.in_haste:
            return 0
        if any(p.local < p.blocks or p.remaining > 1 or not p.computed for p in running):
            return 0
        steps = min(prompt.max_tokens - prompt.tokens for prompt in running) - 1
        while steps > 0 and (lacking := self._blocks_lacking(steps) - room.local) > 0:
            steps -= max(1, lacking * self._sizes.block_tokens // len(running) - self._sizes.block_tokens)
        return max(0, steps)

    def advance(self, took_s: Sequence[float]) -> int:
        """Steps that `steady_steps` told of were computed, each in so many device seconds; returns how many local
        blocks they have taken."""
        running, steps = self.prompts.running, len(took_s)
        taken = self._blocks_lacking(steps)
        self.policy.served_alike(running, took_s)
        for prompt in running:
            prompt.computed += steps
            prompt.tokens += steps
            prompt.has_begun = True
            prompt.blocks = prompt.local = max(prompt.blocks, self._sizes.blocks_for(prompt.tokens - 1))
        return taken

    def _blocks_lacking(self, steps: int) -> int:
        """Blocks that prompts which run need beyond their own, to decode for so many steps."""
        needed = self._sizes.blocks_for
        return sum(max(0, needed(prompt.tokens + steps - 1) - prompt.blocks) for prompt in self.prompts.running)

    # -- checks ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError unless every prompt is where its stand says and has room for its KV."""
        self.prompts.check()
        for prompt in self.prompts.by_arrival:
            assert prompt.blocks * self._sizes.block_tokens >= prompt.computed, "KV without a block"
            assert 0 <= prompt.local <= prompt.blocks, "more local blocks than blocks"
            if prompt.stand is Stand.WAITING:
                assert prompt.blocks == prompt.computed == 0, "a waiting prompt holds blocks"

    def _blocks_ahead(self, prompt: ScheduledPrompt, tokens: int) -> int:
        return self._sizes.blocks_for(min(prompt.tokens + tokens, prompt.max_tokens - 1))

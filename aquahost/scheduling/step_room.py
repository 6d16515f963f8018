"""A step's plan in the making: who gets blocks, who gives them up. The mechanics that all policies share."""

from __future__ import annotations

from collections.abc import Callable

from aquahost.scheduling.live_prompts import LivePrompts
from aquahost.scheduling.plan import Chunk, Growth, PageIn, StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Costs, Room
from aquahost.scheduling.sizes import Sizes

Provide = Callable[[ScheduledPrompt, int], bool]
"""Gives a running prompt the blocks for so many tokens; False if it must do without this step."""


class StepRoom:
    """The room and the token budget of one step, and the plan that uses them up. What is planned counts as done."""

    def __init__(self, prompts: LivePrompts, sizes: Sizes, room: Room, budget: int) -> None:
        self.plan = StepPlan()
        self.prompts = prompts
        self.sizes = sizes
        self.budget = budget
        """Tokens that may still be computed."""
        self.local = room.local
        """Local blocks still free."""
        self.remote = room.remote
        """Blocks of slower memory still free."""
        self.peer = room.peer
        """Those of them that lie in neighbours' memory."""
        self.more: bool = room.more
        self.costs: Costs = room.costs

    # -- what there is -----------------------------------------------------------------------------------------

    @property
    def active(self) -> int:
        """Prompts that have a place in steps, or are about to."""
        return len(self.prompts.running) + len(self.prompts.arriving)

    @property
    def coming(self) -> int:
        """Local blocks of prompts that are on their way out."""
        return self.prompts.leaving_blocks

    def is_alone(self, prompt: ScheduledPrompt) -> bool:
        """Whether nobody else runs, or is about to, or holds local memory."""
        others = self.active - (prompt.stand in (Stand.RUNNING, Stand.ARRIVING))
        return not others and not self.coming

    def blocks_ahead(self, prompt: ScheduledPrompt, tokens: int) -> int:
        """Blocks of a prompt that is so many tokens further on, or at its end."""
        return self.sizes.blocks_for(min(prompt.tokens + tokens, prompt.max_tokens - 1))

    def growth(self, tokens: int) -> int:
        """Blocks that those who run or arrive lack to grow by so many tokens."""
        active = [*self.prompts.running, *self.prompts.arriving]
        return sum(self.blocks_ahead(prompt, tokens) - prompt.blocks for prompt in active)

    # -- what to compute ---------------------------------------------------------------------------------------

    def decode(self, prompt: ScheduledPrompt, provide: Provide) -> None:
        """Compute one token of a prompt, if it can have room for it."""
        if prompt.blocks * self.sizes.block_tokens >= prompt.tokens or provide(prompt, prompt.tokens):
            self.plan.decodes.append(prompt)
            self.budget -= 1

    def prefill(self, prompt: ScheduledPrompt, provide: Provide) -> None:
        """Compute as much of a running prompt's input as the budget allows, if it can have room for that."""
        count = min(prompt.remaining, self.budget)
        if count > 0 and provide(prompt, prompt.computed + count):
            self.plan.chunks.append(Chunk(prompt, prompt.computed, count))
            self.budget -= count

    # -- blocks ------------------------------------------------------------------------------------------------

    def grow(self, prompt: ScheduledPrompt, local: int, remote: int) -> None:
        """Give a prompt blocks at the end of its table."""
        prompt.blocks += local + remote
        prompt.local += local
        self.local -= local
        self._take_remote(remote)
        self.plan.grown.append(Growth(prompt, local, remote))

    def seat(self, prompt: ScheduledPrompt, local: int, remote: int = 0) -> None:
        """Let a prompt begin with so many blocks. One that comes back has `local` of its blocks copied; the others stay
        where they are and are read there, and what it lacks beyond them it is given once it runs."""
        if prompt.blocks:
            self.page_in(prompt, local)
            return
        self.prompts.move(prompt, Stand.RUNNING)
        self.grow(prompt, local, remote)
        self.plan.admitted.append(prompt)

    def page_in(self, prompt: ScheduledPrompt, local: int) -> None:
        """Let the first blocks of a prompt be copied home."""
        before = prompt.local
        prompt.local = min(local, prompt.blocks)
        self.prompts.move(prompt, Stand.ARRIVING)
        self.local -= prompt.local - before
        self.plan.paged_in.append(PageIn(prompt, prompt.local))

    def give_way(self, victim: ScheduledPrompt) -> None:
        """Take a running prompt out: paged out if there is anything to keep and room for it, else dropped."""
        kept = self.sizes.blocks_for(victim.computed)
        local = min(victim.local, kept)
        if kept and local <= self.remote:
            self._take_remote(local)
            victim.blocks, victim.local = kept, local
            self.prompts.move(victim, Stand.LEAVING)
            self.plan.paged_out.append(victim)
            return
        self.local += victim.local
        self.prompts.empty(victim)
        self.plan.dropped.append(victim)

    def overflow(self, prompt: ScheduledPrompt, missing: int) -> bool:
        """Let the only prompt that runs grow into slower memory, at the cost of those suspended there."""
        local = self.local
        if not self._make_remote_room(prompt, missing - local):
            return False
        self.grow(prompt, local, missing - local)
        return True

    def seat_alone(self, prompt: ScheduledPrompt) -> bool:
        """Let a prompt begin or come back while nobody else runs: whatever is live fits somewhere, `Scheduler.add` saw
        to that."""
        needed = self.sizes.blocks_for(prompt.tokens)
        local = min(needed, self.local)
        if local < needed and self.more:
            return False
        # What it has in slower memory serves: some of it as it is, the rest as room once its copy has come home.
        if not self._make_remote_room(prompt, needed - local - prompt.blocks):
            return False
        self.seat(prompt, local, needed - local)
        return True

    def _make_remote_room(self, keeper: ScheduledPrompt, blocks: int) -> bool:
        """Drop suspended prompts, the youngest first, until slower memory has room; False, and nobody is dropped, if it
        can't have: then the keeper is starved."""
        victims = [p for p in self.prompts.waiting if p.stand is Stand.SUSPENDED and p is not keeper]
        if blocks > self.remote + sum(p.blocks for p in victims):
            self.plan.starved = keeper
            return False
        while blocks > self.remote:
            victim = victims.pop()
            self.remote += victim.blocks
            self.prompts.empty(victim)
            self.plan.dropped.append(victim)
        return True

    def _take_remote(self, blocks: int) -> None:
        self.remote -= blocks
        self.peer = max(0, self.peer - blocks)

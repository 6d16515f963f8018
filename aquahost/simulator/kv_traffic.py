"""Prompts on their way out and back: what the engine's pager does with a step's plan, on cost models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from aquahost.engines.llm.paging_costs import PagingCosts
from aquahost.engines.llm.tiers import Tier
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Costs
from aquahost.scheduling.scheduler import Scheduler
from aquahost.simulator.language_shard import LanguageShard
from aquahost.simulator.links import HOST, Links, Part


class KvTraffic:
    """Owns the copies of one model's prompts. A prompt has got where it was going when all its shards have."""

    def __init__(
        self, shards: Sequence[LanguageShard], scheduler: Scheduler, transfer_s: float, woken: Callable[[], None]
    ) -> None:
        self._shards = shards
        self.links: Links = shards[0].links
        self._scheduler = scheduler
        self._transfer_s = transfer_s
        self._woken = woken
        self._costs = PagingCosts()
        self._moving: dict[str, int] = {}
        """By prompt: the number of its journey, so that one that was forgotten meanwhile is not taken for the next."""
        self._journeys = 0
        self.paged_bytes = 0
        """Copied out and in so far."""

    @property
    def under_way(self) -> int:
        """Prompts that are on their way."""
        return len(self._moving)

    def costs(self) -> Costs:
        """What paging costs at present."""
        slowest = [one for shard in self._shards if (one := shard.kv.peer_block_s) is not None]
        return self._costs.costs(max(slowest, default=None))

    def carry_out(self, plan: StepPlan, now_s: float) -> None:
        """Do what must happen before the step."""
        for prompt in plan.dropped:
            for shard in self._shards:
                shard.kv.release(prompt.id)
        for prompt in plan.paged_out:
            parts: list[Part] = []
            for shard in self._shards:
                parts += shard.copies(shard.kv.page_out(prompt.id, prompt.computed, prompt.blocks), out=True)
            self._begin(prompt, parts, now_s, out=True)
        for prompt, local in plan.paged_in:
            parts = []
            for shard in self._shards:
                parts += shard.copies(shard.kv.page_in(prompt.id, prompt.computed, local), out=False)
            self._begin(prompt, parts, now_s, out=False)
        for prompt, local, remote in plan.grown:
            for shard in self._shards:
                shard.kv.grow(prompt.id, local, remote)
                shard.kv.holdings[prompt.id].is_seated = True
            self._note_hosted(prompt)
        for _ in range(len(plan.paged_out) + len(plan.paged_in)):
            self._costs.note_work(self._transfer_s)

    def reads(self, prompts: Iterable[ScheduledPrompt]) -> list[Part]:
        """What a step of these prompts reads in place elsewhere."""
        away = [prompt.id for prompt in prompts if prompt.local < prompt.blocks]
        return [part for shard in self._shards for part in shard.reads(away)] if away else []

    def forget(self, prompt_id: str) -> None:
        """A prompt has ended, or lost its blocks."""
        self._moving.pop(prompt_id, None)
        for shard in self._shards:
            shard.kv.release(prompt_id)

    def _begin(self, prompt: ScheduledPrompt, parts: list[Part], now_s: float, *, out: bool) -> None:
        self._journeys += 1
        self._moving[prompt.id] = self._journeys
        self.paged_bytes += sum(part.nbytes for part in parts)
        arrived = partial(self._arrived, prompt, self._journeys, parts, now_s, out)
        self.links.copy(parts, arrived)

    def _arrived(self, prompt: ScheduledPrompt, journey: int, parts: list[Part], began_s: float, out: bool) -> None:
        if self._moving.get(prompt.id) != journey:
            return
        del self._moving[prompt.id]
        self._note_cost(parts, began_s)
        prompts = self._scheduler.prompts
        if out:
            for shard in self._shards:
                shard.kv.left(prompt.id)
            prompts.left(prompt.id)
        else:
            for shard in self._shards:
                shard.kv.holdings[prompt.id].is_seated = True
            assert prompt.stand is Stand.ARRIVING, "a prompt arrives that was not on its way"
            prompts.arrived(prompt.id)
        self._note_hosted(prompt)
        self._woken()

    def _note_cost(self, parts: list[Part], began_s: float) -> None:
        if not parts:
            return
        shards = len(self._shards)
        tier = Tier.HOST if HOST in (parts[0].source, parts[0].target) else Tier.PEER
        blocks = sum(part.nbytes for part in parts) // self._shards[0].kv.block_bytes // shards
        self._costs.note_transfer(tier, blocks, self.links.now_s() - began_s)

    def _note_hosted(self, prompt: ScheduledPrompt) -> None:
        prompt.hosted = max(shard.kv.holdings[prompt.id].remote[HOST] for shard in self._shards)

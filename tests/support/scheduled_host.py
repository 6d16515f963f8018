"""A scheduler and the memory it schedules, without an engine: for tests of policies."""

from __future__ import annotations

from aquahost.scheduling.fcfs import Fcfs
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policy import Policy
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Costs, Room
from aquahost.scheduling.scheduler import Scheduler
from aquahost.scheduling.sizes import Sizes


class ScheduledHost:
    """A scheduler and the blocks it schedules: `local` ones on the GPU and `remote` ones in slower memory."""

    def __init__(
        self,
        *,
        local: int = 8,
        remote: int = 0,
        block_tokens: int = 4,
        step_tokens: int = 16,
        max_batch: int = 8,
        headroom_tokens: int = 8,
        copy_steps: int = 0,
        policy: Policy | None = None,
        costs: Costs | None = None,
        peer: int | None = None,
        step_s: float = 0.01,
    ) -> None:
        self.local, self.remote, self.block_tokens = local, remote, block_tokens
        sizes = Sizes(
            most_blocks=local + remote,
            block_tokens=block_tokens,
            step_tokens=step_tokens,
            max_batch=max_batch,
            headroom_tokens=headroom_tokens,
        )
        self.scheduler = Scheduler(sizes, policy or Fcfs())
        self.costs, self.peer, self.step_s = costs or Costs(), peer, step_s
        self.now_s = 0.0
        self.copy_steps = copy_steps
        """Steps that paging a prompt out or in takes."""
        self.live: dict[str, ScheduledPrompt] = {}
        self.moving: dict[str, tuple[Stand, int]] = {}
        self.step = 0

    def add(self, prompt: ScheduledPrompt) -> None:
        self.scheduler.add(prompt)
        self.live[prompt.id] = prompt

    def remove(self, prompt_id: str) -> None:
        self.scheduler.remove(prompt_id)
        del self.live[prompt_id]
        self.moving.pop(prompt_id, None)

    def room(self) -> Room:
        local = sum(p.local for p in self.live.values())
        # A prompt on its way takes room at both ends.
        remote = sum(p.blocks if p.stand is Stand.LEAVING else p.blocks - p.local for p in self.live.values())
        remote += sum(p.local for p in self.live.values() if p.stand is Stand.ARRIVING)
        assert local <= self.local, "more local blocks given than there are"
        assert remote <= self.remote, "more remote blocks given than there are"
        free = self.remote - remote
        return Room(
            self.local - local, free, peer=free if self.peer is None else min(free, self.peer), costs=self.costs
        )

    def run_step(self) -> tuple[StepPlan, list[str]]:
        """Plan, commit and end what is complete; return the plan and the ids that finished."""
        self.step += 1
        for prompt_id, (stand, due) in list(self.moving.items()):
            if due <= self.step:
                del self.moving[prompt_id]
                (self.scheduler.prompts.left if stand is Stand.LEAVING else self.scheduler.prompts.arrived)(prompt_id)
        plan = self.scheduler.plan(self.room(), self.now_s)
        self.scheduler.check()
        self.room()
        for prompt in plan.paged_out:
            self.moving[prompt.id] = (Stand.LEAVING, self.step + 1 + self.copy_steps)
        for page_in in plan.paged_in:
            self.moving[page_in.prompt.id] = (Stand.ARRIVING, self.step + 1 + self.copy_steps)
        computed = [*plan.decodes, *(chunk.prompt for chunk in plan.chunks)]
        assert all(p.stand is Stand.RUNNING for p in computed), "a prompt is computed that is not there"
        assert len({p.id for p in computed}) == len(computed), "a prompt is computed twice"
        self.scheduler.commit(plan, self.step_s)
        self.now_s += self.step_s
        done = [p.id for p in computed if p.tokens >= p.max_tokens]
        for prompt_id in done:
            self.remove(prompt_id)
        self.scheduler.check()
        return plan, done

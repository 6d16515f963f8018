"""First come, first served, with admission control, chunked prefill and preemption by recomputation."""

from __future__ import annotations

from collections import deque

from aquahost.scheduling.plan import Chunk, StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt


class FcfsScheduler:
    """Owns the queue, the running prompts and the count of free KV blocks (their ids are the block pool's).

    Each step computes one token of every decoding prompt, then prefills in order of arrival with what is left of
    `step_tokens`. A prompt is admitted when its tokens fit and every running prompt could still grow by
    `headroom_tokens`. When blocks run out nevertheless, the youngest running prompt is preempted: it gives up all its
    blocks, goes back to the head of the queue and is prefilled again.
    """

    def __init__(
        self, *, blocks: int, block_tokens: int, step_tokens: int, max_batch: int, headroom_tokens: int = 64
    ) -> None:
        if min(blocks, block_tokens, step_tokens, max_batch) < 1:
            raise ValueError("blocks, block_tokens, step_tokens and max_batch must be at least 1")
        self._blocks = blocks
        self._free = blocks
        self._block_tokens = block_tokens
        self._step_tokens = step_tokens
        self._max_running = min(max_batch, step_tokens)  # so that every decoding prompt has its token in every step
        self._headroom_tokens = headroom_tokens
        self._waiting: deque[ScheduledPrompt] = deque()
        self._running: list[ScheduledPrompt] = []
        self._by_id: dict[str, ScheduledPrompt] = {}

    @property
    def waiting(self) -> int:
        """Prompts without blocks: new ones and preempted ones."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Prompts that hold blocks."""
        return len(self._running)

    @property
    def free_blocks(self) -> int:
        """Blocks nobody holds."""
        return self._free

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest prompt that can ever run; the last token needs no room, nothing attends to it."""
        return self._blocks * self._block_tokens + 1

    def add(self, prompt: ScheduledPrompt) -> None:
        """Put a new prompt at the queue's end; raises ValueError if it could never run."""
        if prompt.id in self._by_id:
            raise ValueError(f"prompt {prompt.id} is already scheduled")
        if not 0 < prompt.tokens < prompt.max_tokens <= self.max_tokens:
            raise ValueError(f"prompt of {prompt.tokens} to {prompt.max_tokens} tokens; at most {self.max_tokens} fit")
        self._by_id[prompt.id] = prompt
        self._waiting.append(prompt)

    def remove(self, prompt_id: str) -> ScheduledPrompt | None:
        """Forget a prompt, finished or cancelled; its blocks are free. None if the id is unknown."""
        prompt = self._by_id.pop(prompt_id, None)
        if prompt is None:
            return None
        (self._running if prompt.blocks else self._waiting).remove(prompt)
        self._release(prompt)
        return prompt

    def plan(self) -> StepPlan:
        """The next step. Blocks in `grown` count as given, so the plan must be carried out and then committed."""
        plan = StepPlan()
        budget = self._step_tokens - self._plan_decodes(plan)
        for prompt in self._running:
            if budget and prompt.remaining > 1:
                budget -= self._plan_chunk(plan, prompt, budget)
        # Not right after a preemption: the victim would take back the blocks it was made to give up.
        while budget and self._waiting and not plan.preempted and self._admissible(self._waiting[0]):
            prompt = self._waiting.popleft()
            self._running.append(prompt)
            self._grow(plan, prompt, self._blocks_for(prompt.tokens))
            plan.admitted.append(prompt)
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
        """Raise AssertionError unless held + free = all blocks and every prompt stands where its blocks say."""
        held = sum(prompt.blocks for prompt in self._running)
        assert held + self._free == self._blocks, f"{held} held + {self._free} free != {self._blocks} blocks"
        assert self._free >= 0, f"{self._free} blocks free"
        assert all(p.blocks == 0 and p.computed == 0 for p in self._waiting), "a waiting prompt holds blocks"
        assert all(p.blocks * self._block_tokens >= p.computed for p in self._running), "KV without a block"
        assert len(self._running) + len(self._waiting) == len(self._by_id), "a prompt is lost or scheduled twice"

    def _plan_decodes(self, plan: StepPlan) -> int:
        """Plan one token of each decoding prompt, oldest first, preempting from the young end; return the tokens."""
        block_tokens, running = self._block_tokens, self._running
        at = 0
        while at < len(running):
            prompt = running[at]
            at += 1
            if prompt.tokens - prompt.computed != 1:
                continue
            if prompt.tokens > prompt.blocks * block_tokens:
                while not self._free and len(running) > at:
                    self._preempt(plan)
                if not self._free:
                    self._preempt(plan)  # itself: it is the youngest
                    break
                self._grow(plan, prompt, 1)
            plan.decodes.append(prompt)
        return len(plan.decodes)

    def _plan_chunk(self, plan: StepPlan, prompt: ScheduledPrompt, budget: int) -> int:
        count = min(prompt.remaining, budget)
        plan.chunks.append(Chunk(prompt, prompt.computed, count))
        return count

    def _admissible(self, prompt: ScheduledPrompt) -> bool:
        if len(self._running) >= self._max_running:
            return False
        if not self._running:
            return True  # alone, whatever is live fits: `add` saw to it
        growth = sum(
            self._blocks_for(min(p.tokens + self._headroom_tokens, p.max_tokens - 1)) - p.blocks for p in self._running
        )
        own = self._blocks_for(min(prompt.tokens + self._headroom_tokens, prompt.max_tokens - 1))
        return own + growth <= self._free

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self._block_tokens)

    def _grow(self, plan: StepPlan, prompt: ScheduledPrompt, blocks: int) -> None:
        prompt.blocks += blocks
        self._free -= blocks
        plan.grown.append((prompt, blocks))

    def _preempt(self, plan: StepPlan) -> None:
        victim = self._running.pop()
        self._release(victim)
        victim.computed = 0
        self._waiting.appendleft(victim)
        plan.preempted.append(victim)

    def _release(self, prompt: ScheduledPrompt) -> None:
        self._free += prompt.blocks
        prompt.blocks = 0

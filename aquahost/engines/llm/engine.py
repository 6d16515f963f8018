"""The language engine: continuous batching over a paged KV arena, one step at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from aquahost.engines.failures import out_of_memory
from aquahost.engines.llm.arrival import make_sequence
from aquahost.engines.llm.batch import ChunkInput, pack
from aquahost.engines.llm.engine_parts import EngineParts
from aquahost.engines.llm.live_sequences import LiveSequences
from aquahost.engines.llm.sampler import Choices, TopLogprobs, sample
from aquahost.engines.llm.sequence import Sequence
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.parking import Parking
from aquahost.engines.workspace import NoRoomError, Workspace
from aquahost.errors import InvalidRequestError
from aquahost.messages.memory import MemoryInstruction, MemoryReport
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    Output,
    Prompt,
    PromptState,
    StateChanged,
    TokenChoice,
    TokenLogprob,
    Tokens,
)
from aquahost.messages.wire import EngineStats, Footprint, ParkingWish, Standing
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt

BUSY_WAIT_S = 0.001
"""How long to wait for messages where only a copy's arrival, or the broker's answer, lets a step be done."""
IDLE_WAIT_S = 0.5
STARVED_PATIENCE_S = 5.0
"""How long a prompt that is alone may lack KV memory before it is refused."""


class LlmEngine:
    """An `engines.engine.Engine`. The scheduler decides, the pool names the blocks, the tables hold them."""

    def __init__(self, parts: EngineParts) -> None:
        """Take over the parts; `close` closes the memory among them."""
        self._parts = parts
        self.runner = parts.runner
        """Runs the model; measurements look at it."""
        self._pool = parts.memory.pool
        self._tables = parts.tables
        self._scheduler = parts.scheduler
        self._desk = parts.device.desk
        self.sequences = LiveSequences(parts.tables, parts.scheduler, parts.memory, parts.device)
        """The live prompts; measurements and tests look at them."""
        self._tiers = self.sequences.tiers
        self._workspace = Workspace(parts.device)
        self._has_room = False
        self._starved: tuple[str, float] | None = None
        self._parking = Parking(
            parts.device, pin=parts.pin, ready_to_park=lambda: self._tiers.lies_idle and not self._workspace.nbytes
        )
        self.on_plan: Callable[[StepPlan], None] | None = None
        """Told of each step before it is computed; for measurements."""
        self._failed: list[Output] = []
        self._idle_step = False
        self._steps = 0
        self._busy_s = 0.0
        self._output_tokens = 0
        self._closed = False

    @property
    def footprint(self) -> Footprint:
        """Weights, arena and context."""
        return self._parts.footprint

    def submit(self, prompt: Prompt) -> Accepted:
        """Tokenise and queue a prompt. Raises InvalidRequestError, naming the field, if it can't be served."""
        if prompt.id in self.sequences:
            raise InvalidRequestError(f"prompt {prompt.id} is live already", param="id")
        sequence = make_sequence(prompt, self._parts)
        self.sequences.add(sequence)
        self._parking.wake()
        self.tend()
        return Accepted(prompt.id, input_tokens=sequence.input_tokens)

    def cancel(self, prompt_id: str) -> None:
        """Forget a prompt; its blocks are free when this returns, or when copies under way have arrived."""
        if prompt_id in self.sequences:
            self.sequences.end(self.sequences[prompt_id])

    def has_work(self) -> bool:
        """Whether any prompt is live, or its refusal is to be told."""
        return len(self.sequences) > 0 or bool(self._failed)

    def tend(self) -> None:
        """See to copies under way, to leases, to how much memory is held, and to where the weights are."""
        early, self._desk.early = self._desk.early, []
        for message in early:
            self.on_memory(message)
        busy = len(self.sequences) > 0
        self._parking.tend(busy=busy)
        if not busy:
            self._workspace.rest()
        elif self._parking.stuck:
            self._refuse_all(self._parking.stuck)
        elif self._parking.is_awake:
            self._make_room()
        self.sequences.tend(parked=not self._parking.is_awake, may_borrow=self._parking.is_home)

    def wait_s(self) -> float:
        """0 while prompts run."""
        if self._failed or (self.has_work() and not self._idle_step):
            return 0.0
        if self.has_work() or self._tiers.is_busy:
            return BUSY_WAIT_S
        return min(self._parking.wait_s(), self._workspace.wait_s(), IDLE_WAIT_S)

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's word on a claim or a lease."""
        if not self._desk.on_memory(message) and not self._parking.on_memory(message):
            self._tiers.on_memory(message)

    def on_wish(self, wish: ParkingWish) -> None:
        """Park, wake, pin or unpin."""
        self._parking.on_wish(wish)

    def memory_reports(self) -> list[MemoryReport]:
        """Claims, demand, and what became of leases."""
        return self._desk.take_reports()

    def step(self) -> list[Output]:
        """One forward pass: a token for every decoding prompt, and as much prefill as fits beside them."""
        outputs, self._failed = self._failed, []
        if not (len(self.sequences) and self._parking.is_awake and self._has_room):
            self._idle_step = True
            return outputs + self.sequences.take_changes()
        began_s = self._desk.clock.now_s()
        plan = self.sequences.plan()
        outputs += self.sequences.take_changes()
        if self.on_plan is not None:
            self.on_plan(plan)
        self._idle_step = plan.is_empty
        self._watch_starved(plan)
        if plan.is_empty:
            return outputs
        sequences = self.sequences
        decodes = [sequences[p.id] for p in sorted(plan.decodes, key=_tokens)]
        completing = [sequences[chunk.prompt.id] for chunk in plan.chunks if chunk.completes]
        choosing = decodes + completing
        with torch.inference_mode():
            logits = self._forward(plan, decodes)
            choices = sample(logits, [sequence.sampler for sequence in choosing])
        self._advance(plan, choosing, choices)
        self.sequences.charge_reads(plan)
        took_s = self._desk.clock.now_s() - began_s
        self._busy_s += took_s
        self._scheduler.commit(plan, took_s)
        for row, (sequence, token_id) in enumerate(zip(choosing, choices.token_ids, strict=True)):
            if token_id < 0:
                outputs.append(self._fail(sequence))
            else:
                self._deliver(sequence, token_id, choices.logprobs.get(row), outputs)
        return outputs

    def stats(self) -> EngineStats:
        """Figures after the last step."""
        memory = self._parts.memory
        return EngineStats(
            waiting=self._scheduler.waiting,
            running=self._scheduler.running,
            suspended=self._scheduler.suspended,
            slice_s=self._scheduler.policy.slice_s,
            steps=self._steps,
            output_tokens=self._output_tokens,
            kv_blocks=self._pool.blocks(Tier.LOCAL),
            kv_blocks_free=self._pool.free(Tier.LOCAL),
            kv_used_bytes=self._pool.given * memory.layout.block_bytes,
            weights_bytes=self._parking.gpu_bytes,
            kv_bytes=memory.local_bytes,
            work_bytes=self._workspace.nbytes,
            borrowed_bytes=memory.borrowed_chunks * memory.chunk_bytes + self._parking.borrowed_bytes,
            host_bytes=memory.mapped_host * memory.chunk_bytes + self._parking.host_bytes,
            paged=memory.traffic.paged_figures(),
            parked=self._parking.where,
            stuck=self._parking.stuck,
            busy_s=self._busy_s,
            traffic=memory.traffic.figures(),
        )

    def standings(self) -> list[Standing]:
        """How each live prompt stands with the scheduler."""
        return self.sequences.standings()

    def check(self) -> None:
        """Raise AssertionError unless pool, tables and scheduler agree on every block."""
        self.sequences.check()

    def close(self) -> None:
        """End every prompt and unmap the arena; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        for sequence in self.sequences:
            self.sequences.end(sequence)
        self._parts.device.copies.synchronize()
        self._parking.close()
        self._workspace.close()
        self._tiers.close()

    def _forward(self, plan: StepPlan, decodes: list[Sequence]) -> torch.Tensor:
        slots = np.array([sequence.slot for sequence in decodes], dtype=np.int64)
        chunks = []
        for chunk in plan.chunks:
            sequence = self.sequences[chunk.prompt.id]
            token_ids = sequence.token_ids[chunk.start : chunk.start + chunk.count]
            chunks.append(ChunkInput(slot=sequence.slot, token_ids=token_ids, completes=chunk.completes))
        parts = self._parts
        return self.runner.forward(pack(self._tables, parts.memory.layout, parts.device.torch_device, slots, chunks))

    def _advance(self, plan: StepPlan, choosing: list[Sequence], choices: Choices) -> None:
        """Record what was computed and what the next decode will compute."""
        tables = self._tables
        decoded = np.array([sequence.slot for sequence in choosing], dtype=np.int64)
        tables.computed[decoded[: len(plan.decodes)]] += 1
        tables.last_tokens[decoded] = choices.token_ids
        for chunk in plan.chunks:
            tables.computed[self.sequences[chunk.prompt.id].slot] += chunk.count
        self._steps += 1

    def _deliver(self, sequence: Sequence, token_id: int, top: TopLogprobs | None, outputs: list[Output]) -> None:
        """Append what a new token brings: state, text, and the end if it is the last."""
        prompt_id = sequence.scheduled.id
        if not sequence.is_running:
            sequence.is_running = True
            outputs.append(StateChanged(prompt_id, PromptState.RUNNING))
            if sequence.echo:
                outputs.append(Tokens(prompt_id, sequence.echo, []))
                sequence.echo = ""
        self._output_tokens += 1
        text, reason = sequence.accept(token_id)
        logprobs = None if top is None else [self._choice(token_id, top)]
        outputs.append(Tokens(prompt_id, text, [token_id], logprobs))
        if reason is not None:
            outputs.append(self._finish(sequence, reason))

    def _choice(self, token_id: int, top: TopLogprobs) -> TokenChoice:
        text = self._parts.vocabulary.token_text
        best = [TokenLogprob(i, text(i), p) for i, p in zip(top.top_ids, top.top, strict=True)]
        return TokenChoice(TokenLogprob(token_id, text(token_id), top.chosen), best)

    def _finish(self, sequence: Sequence, reason: FinishReason, error: ErrorDetail | None = None) -> Finished:
        service_s = self._scheduler.policy.service_s(sequence.id)
        self.sequences.end(sequence)
        return Finished(
            prompt_id=sequence.id,
            reason=reason,
            service_s=service_s,
            input_tokens=sequence.input_tokens,
            output_tokens=sequence.output_tokens,
            error=error,
        )

    def _make_room(self) -> None:
        """Have memory for the widest step before the first one."""
        try:
            self._has_room = self._workspace.want(self.footprint.peak_bytes)
        except NoRoomError as error:
            self._has_room = False
            self._refuse_all(f"The GPU has not the memory to compute anything now: {error}. Try again later.")

    def _watch_starved(self, plan: StepPlan) -> None:
        """Refuse a prompt that lacks KV memory, counted on when it was taken, for too long: others wait behind it."""
        now_s = self._desk.clock.now_s()
        if plan.starved is None:
            self._starved = None
        elif self._starved is None or self._starved[0] != plan.starved.id:
            self._starved = plan.starved.id, now_s
        elif now_s - self._starved[1] >= STARVED_PATIENCE_S:
            reason = "There is not the KV memory for this prompt that there was. Ask for less, or try again later."
            sequence = self.sequences[plan.starved.id]
            self._failed.append(self._finish(sequence, FinishReason.ERROR, out_of_memory(reason)))

    def _refuse_all(self, reason: str) -> None:
        for sequence in self.sequences:
            self._failed.append(self._finish(sequence, FinishReason.ERROR, out_of_memory(reason)))

    def _fail(self, sequence: Sequence) -> Finished:
        message = "the model's output is not a number; its weights or this prompt overflow its number format"
        return self._finish(sequence, FinishReason.ERROR, ErrorDetail(message=message, code="numerical_error"))


def _tokens(prompt: ScheduledPrompt) -> int:
    return prompt.tokens

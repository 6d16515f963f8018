"""The language engine: continuous batching over a paged KV arena, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from aquahost.engines.llm.batch import ChunkInput, pack
from aquahost.engines.llm.block_tables import BlockTables
from aquahost.engines.llm.detokenizer import Vocabulary
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.runner import ModelRunner
from aquahost.engines.llm.sampler import Choices, SamplerState, TopLogprobs, sample
from aquahost.engines.llm.sampling_rules import check_sampling
from aquahost.engines.llm.sequence import Sequence
from aquahost.engines.llm.stopping import StopStrings
from aquahost.engines.llm.tokenization import PromptEncoder
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    Output,
    Prompt,
    PromptState,
    StateChanged,
    TextRequest,
    TokenChoice,
    TokenLogprob,
    Tokens,
)
from aquahost.messages.wire import EngineStats, Footprint
from aquahost.scheduling.fcfs import FcfsScheduler
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What a loaded language model consists of."""

    runner: ModelRunner
    memory: KvMemory
    tables: BlockTables
    scheduler: FcfsScheduler
    encoder: PromptEncoder
    vocabulary: Vocabulary
    footprint: Footprint
    end_ids: frozenset[int]
    """Tokens that end a reply."""
    vocabulary_size: int
    torch_device: torch.device


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
        self._sequences: dict[str, Sequence] = {}
        self._steps = 0
        self._output_tokens = 0
        self._closed = False

    @property
    def footprint(self) -> Footprint:
        """Weights, arena and context."""
        return self._parts.footprint

    def submit(self, prompt: Prompt) -> Accepted:
        """Tokenise and queue a prompt. Raises InvalidRequestError, naming the field, if it can't be served."""
        request = prompt.request
        if not isinstance(request, TextRequest):
            raise InvalidRequestError(f"{prompt.model} is a language model; it takes text", param="model")
        if prompt.id in self._sequences:
            raise InvalidRequestError(f"prompt {prompt.id} is live already", param="id")
        sampling, parts = request.sampling, self._parts
        check_sampling(sampling, parts.vocabulary_size)
        ids, echo = parts.encoder.encode(request)
        room = self.footprint.max_context - len(ids)
        output = room if sampling.max_tokens is None else min(sampling.max_tokens, room)
        scheduled = ScheduledPrompt(id=prompt.id, tokens=len(ids), max_tokens=len(ids) + output)
        sequence = Sequence(
            scheduled=scheduled,
            token_ids=ids,
            input_tokens=len(ids),
            end_ids=frozenset() if sampling.ignore_eos else parts.end_ids,
            sampler=SamplerState(sampling, ids, parts.vocabulary_size, parts.torch_device),
            detokenizer=parts.vocabulary.detokenizer(ids),
            stops=StopStrings(sampling.stop),
            echo=echo,
        )
        self._scheduler.add(scheduled)
        self._sequences[prompt.id] = sequence
        return Accepted(prompt.id, input_tokens=len(ids))

    def cancel(self, prompt_id: str) -> None:
        """Forget a prompt; its blocks are free when this returns."""
        sequence = self._sequences.get(prompt_id)
        if sequence is not None:
            self._end(sequence)

    def has_work(self) -> bool:
        """Whether any prompt is live."""
        return bool(self._sequences)

    def step(self) -> list[Output]:
        """One forward pass: a token for every decoding prompt, and as much prefill as fits beside them."""
        if not self._sequences:
            return []
        plan = self._scheduler.plan()
        outputs: list[Output] = self._apply(plan)
        if plan.is_empty:
            return outputs
        sequences = self._sequences
        decodes = [sequences[p.id] for p in sorted(plan.decodes, key=_tokens)]
        completing = [sequences[chunk.prompt.id] for chunk in plan.chunks if chunk.completes]
        choosing = decodes + completing
        with torch.inference_mode():
            logits = self._forward(plan, decodes)
            choices = sample(logits, [sequence.sampler for sequence in choosing])
        self._advance(plan, choosing, choices)
        for row, (sequence, token_id) in enumerate(zip(choosing, choices.token_ids, strict=True)):
            if token_id < 0:
                outputs.append(self._fail(sequence))
            else:
                self._deliver(sequence, token_id, choices.logprobs.get(row), outputs)
        return outputs

    def stats(self) -> EngineStats:
        """Figures after the last step."""
        used = self._pool.blocks - self._pool.free
        return EngineStats(
            waiting=self._scheduler.waiting,
            running=self._scheduler.running,
            steps=self._steps,
            output_tokens=self._output_tokens,
            kv_blocks=self._pool.blocks,
            kv_blocks_free=self._pool.free,
            kv_used_bytes=used * self._parts.memory.layout.block_bytes,
        )

    def check(self) -> None:
        """Raise AssertionError unless pool, tables and scheduler agree on every block."""
        self._scheduler.check()
        running = [s for s in self._sequences.values() if s.slot >= 0]
        assert all(len(self._tables.held(s.slot)) == s.scheduled.blocks for s in running), "tables and scheduler differ"
        assert len({s.slot for s in running}) == self._scheduler.running == len(running), "slots and scheduler differ"
        assert self._pool.free == self._scheduler.free_blocks, "pool and scheduler differ"
        self._pool.check(block for s in running for block in self._tables.held(s.slot))

    def close(self) -> None:
        """End every prompt and unmap the arena; more than once is harmless."""
        if self._closed:
            return
        self._closed = True
        for sequence in list(self._sequences.values()):
            self._end(sequence)
        self._parts.memory.close()

    def _apply(self, plan: StepPlan) -> list[Output]:
        """Do what must happen before the plan's work: take blocks away, give slots and blocks."""
        outputs: list[Output] = []
        for prompt in plan.preempted:
            self._release(self._sequences[prompt.id])
            outputs.append(StateChanged(prompt.id, PromptState.SUSPENDED))
        for prompt in plan.admitted:
            sequence = self._sequences[prompt.id]
            sequence.slot = self._tables.acquire()
            # A prefill of which one token is left goes on as a decode of that token.
            self._tables.last_tokens[sequence.slot] = sequence.token_ids[-1]
            outputs.append(StateChanged(prompt.id, PromptState.PREFILLING))
        unfilled = []
        for prompt, count in plan.grown:
            block_ids = self._pool.allocate(count)
            self._tables.append(self._sequences[prompt.id].slot, block_ids)
            unfilled.append(block_ids[-1])  # read before it is full; the others are filled before they are read
        if unfilled:
            self._parts.memory.cache.clear(unfilled)
        return outputs

    def _forward(self, plan: StepPlan, decodes: list[Sequence]) -> torch.Tensor:
        slots = np.array([sequence.slot for sequence in decodes], dtype=np.int64)
        chunks = []
        for chunk in plan.chunks:
            sequence = self._sequences[chunk.prompt.id]
            token_ids = sequence.token_ids[chunk.start : chunk.start + chunk.count]
            chunks.append(ChunkInput(slot=sequence.slot, token_ids=token_ids, completes=chunk.completes))
        parts = self._parts
        return self.runner.forward(pack(self._tables, parts.memory.layout, parts.torch_device, slots, chunks))

    def _advance(self, plan: StepPlan, choosing: list[Sequence], choices: Choices) -> None:
        """Record what was computed and what the next decode will compute."""
        tables = self._tables
        decoded = np.array([sequence.slot for sequence in choosing], dtype=np.int64)
        tables.computed[decoded[: len(plan.decodes)]] += 1
        tables.last_tokens[decoded] = choices.token_ids
        for chunk in plan.chunks:
            tables.computed[self._sequences[chunk.prompt.id].slot] += chunk.count
        self._scheduler.commit(plan)
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
        self._end(sequence)
        return Finished(
            prompt_id=sequence.id,
            reason=reason,
            input_tokens=sequence.input_tokens,
            output_tokens=sequence.output_tokens,
            error=error,
        )

    def _fail(self, sequence: Sequence) -> Finished:
        message = "the model's output is not a number; its weights or this prompt overflow its number format"
        return self._finish(sequence, FinishReason.ERROR, ErrorDetail(message=message, code="numerical_error"))

    def _end(self, sequence: Sequence) -> None:
        """Forget a sequence and free its blocks."""
        del self._sequences[sequence.id]
        self._scheduler.remove(sequence.id)
        self._release(sequence)

    def _release(self, sequence: Sequence) -> None:
        """Give back a sequence's slot and blocks, if it has any."""
        if sequence.slot >= 0:
            self._pool.release(self._tables.release(sequence.slot))
            sequence.slot = -1
            sequence.is_running = False


def _tokens(prompt: ScheduledPrompt) -> int:
    return prompt.tokens

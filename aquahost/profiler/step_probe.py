"""The real language engine, driven step by step: what each step computed, and how long it took."""

from __future__ import annotations

import random
import time
from typing import Any

import msgspec

from aquahost.engines.llm.engine import LlmEngine
from aquahost.messages.prompts import Prompt, Sampling, TextRequest
from aquahost.messages.wire import Outputs
from aquahost.profiler.step_fit import MeasuredStep
from aquahost.profiles.step_costs import StepShape
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.step_shape import shape_of

_FIRST_TOKEN = 2
"""Tokens below it are those that begin, end and pad texts, mostly."""


class StepProbe:
    """Submits prompts to an engine and takes its steps as a worker's loop does. Nobody else may use the engine."""

    def __init__(self, engine: LlmEngine, vocabulary: int) -> None:
        self._engine = engine
        self._vocabulary = vocabulary
        self._random = random.Random(0)
        self._encoder = msgspec.msgpack.Encoder()
        self._count = 0
        self._plan = StepPlan()
        self._shape = StepShape(decodes=0)
        plan = engine.sequences.plan

        def watched() -> StepPlan:
            self._plan = plan()
            self._shape = shape_of(self._plan)
            return self._plan

        engine.sequences.plan = watched  # type: ignore[method-assign]  # the one place that sees a step's prompts

    def submit(self, tokens: int, output_tokens: int) -> None:
        """A greedy prompt of random tokens that does not end early."""
        self._count += 1
        sampling = Sampling(max_tokens=output_tokens, temperature=0, ignore_eos=True)
        ids = [self._random.randrange(_FIRST_TOKEN, self._vocabulary) for _ in range(tokens)]
        request = TextRequest(token_ids=ids, sampling=sampling)
        prompt = Prompt(id=f"p{self._count}", model="", tenant="", request=request, created_s=time.monotonic())
        self._engine.submit(prompt)

    def step(self) -> MeasuredStep:
        """One pass of a worker's loop, but for its socket: memory seen to, a step, what it produced encoded."""
        engine: Any = self._engine
        began_s = time.perf_counter()
        engine.tend()
        engine.memory_reports()
        self._encoder.encode(Outputs(engine.step()))
        return MeasuredStep(shape=self._shape, seconds=time.perf_counter() - began_s)

    def run_to_decodes(self) -> list[MeasuredStep]:
        """Take steps until all prompts decode; returns those steps."""
        steps = []
        while any(sequence.output_tokens == 0 for sequence in self._engine.sequences):
            steps.append(self.step())
        return steps

    def run_out(self) -> list[MeasuredStep]:
        """Take steps until no prompt is left; returns those steps."""
        steps = []
        while self._engine.has_work():
            steps.append(self.step())
        return steps

    def clear(self) -> None:
        """End all prompts."""
        for sequence in self._engine.sequences:
            self._engine.cancel(sequence.id)
        self._engine.tend()

"""What an image or audio model costs on the GPU at hand, measured with the real engine, alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from aquahost.config.settings import Kind, ModelSettings
from aquahost.engines.gated import GatedEngine
from aquahost.engines.gated_model import TRIAL_TEXT
from aquahost.errors import LoadError
from aquahost.messages.prompts import Artifact, AudioRequest, Finished, FinishReason, ImageRequest, Prompt
from aquahost.messages.wire import Outputs
from aquahost.profiles.profile import GatedCosts, SizedCost

STEPS = 6
REPEATS = 3
BUDGET_S = 30.0
"""A size that would take longer, with all before it, is left out: costs beyond the last two follow from these."""
_SURE_SIZES = 2


@dataclass(frozen=True, slots=True)
class _Times:
    begin_s: float
    step_s: float
    end_s: float
    whole_s: float


def measure_gated(engine: GatedEngine, settings: ModelSettings, note: Callable[[str, int, int], None]) -> GatedCosts:
    """Its costs. `note` is told what is measured, and how much of all that is done. Raises LoadError if the model fails
    at what it is asked."""
    trials = engine.model.trials()
    sizes: list[SizedCost] = []
    begun_s, whole_s = time.monotonic(), 0.0
    for number, trial in enumerate(trials):
        request = _request(trial.request, settings)
        job = engine.model.prepare(request)
        growth = job.size / sizes[-1].size if sizes else 1.0
        if number >= _SURE_SIZES and time.monotonic() - begun_s + growth * whole_s > BUDGET_S:
            break
        note(trial.name, number, len(trials))
        runs = [_run(engine, request, f"{number}-{repeat}") for repeat in range(REPEATS)]
        whole_s = sum(run.whole_s for run in runs)
        by_length = isinstance(request, AudioRequest) and request.steps is None
        seconds = request.duration_s if isinstance(request, AudioRequest) else None
        size = float(seconds or job.size)
        alone_bytes = engine.curve.needed_bytes([job.size])
        sizes.append(
            SizedCost(
                size=size,
                peak_bytes=alone_bytes,
                held_bytes=engine.curve.needed_bytes([job.size] * 2) - alone_bytes,
                begin_s=statistics.median(run.begin_s for run in runs),
                step_s=statistics.median(run.step_s for run in runs),
                end_s=statistics.median(run.end_s for run in runs),
                steps_per_size=(job.steps or 0) / size if by_length else 0.0,
            )
        )
    steps, size = _defaults(engine, settings, sizes)
    weights_bytes = engine.footprint.weights_bytes
    return GatedCosts(weights_bytes=weights_bytes, sizes=tuple(sizes), default_steps=steps, default_size=size)


def _request(trial: object, settings: ModelSettings) -> ImageRequest | AudioRequest:
    """A trial's size, with the entry's own guidance and enough steps to tell a step from the begin and the end."""
    assert isinstance(trial, ImageRequest | AudioRequest)
    steps = None if trial.steps is None else min(STEPS, settings.max_steps)
    return msgspec.structs.replace(trial, steps=steps, guidance=None, negative_text=None)


def _defaults(engine: GatedEngine, settings: ModelSettings, sizes: list[SizedCost]) -> tuple[int, float]:
    """Steps and size of a request that does not say."""
    if settings.kind is Kind.IMAGE:
        job = engine.model.prepare(ImageRequest(text=TRIAL_TEXT))
        return job.steps or STEPS, job.size
    job = engine.model.prepare(AudioRequest(text=TRIAL_TEXT))
    each = sizes[-1].steps_per_size
    return job.steps or STEPS, (job.steps or 0) / each if each else job.size


def _run(engine: GatedEngine, request: ImageRequest | AudioRequest, prompt_id: str) -> _Times:
    """One request from its begin to its end, alone."""
    engine.submit(Prompt(id=prompt_id, model="", tenant="", request=request, created_s=time.monotonic()))
    encoder, times, made = msgspec.msgpack.Encoder(), [], False
    while True:
        began_s = time.perf_counter()
        engine.tend()
        outputs = engine.step()
        encoder.encode(Outputs(outputs))
        if outputs:
            times.append(time.perf_counter() - began_s)
        made = made or any(isinstance(output, Artifact) for output in outputs)
        for output in outputs:
            if isinstance(output, Finished):
                if output.reason is FinishReason.ERROR and not made:
                    raise LoadError(f"the model fails: {output.error.message if output.error else 'no reason given'}")
                step_s = statistics.median(times[1:-1] or times[:1])
                return _Times(max(0.0, times[0] - step_s), step_s, times[-1], sum(times))

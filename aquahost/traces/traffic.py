"""Traces of what models.yaml expects of its models: Poisson arrivals, lengths lognormal about their means."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.traces.built_in import Lengths
from aquahost.traces.trace import Trace, TracePrompt, in_order
from aquahost.units import format_seconds

_LOW, _HIGH = 0.05, 8.0
"""Lengths lie within these multiples of their mean."""
NAME = "traffic"
_ANY = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Prompts to one model, at a rate from some time on."""

    model: str
    prompts: int
    rate_per_s: float
    begin_s: float = 0.0


def make_traffic(
    models: Mapping[str, ModelSettings],
    *,
    seed: int,
    duration_s: float,
    times: float = 1.0,
    contexts: Mapping[str, int] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Trace:
    """What is asked of these models in so many seconds, at `times` the rates that their entries expect.

    `contexts`: most tokens of a prompt and its reply, by model; neither takes more than half of that. Every model has
    its own random stream, so that one more model changes nothing of the others'. Raises ConfigError if no entry expects
    anything, or nothing in so short a time. `progress` is told of each model and how many prompts are made for it.
    """
    prompts: list[TracePrompt] = []
    for name, settings in models.items():
        generator = random.Random(f"{seed}:{name}")
        arrivals = list(_arrivals(generator, times * settings.traffic.rate_per_s, 0.0, duration_s))
        if progress is not None:
            progress(name, len(arrivals))
        prompts += _of_model(name, settings, generator, arrivals, (contexts or {}).get(name, _ANY))
    if not prompts:
        if any(settings.traffic.rate_per_s for settings in models.values()):
            raise ConfigError(f"no prompt falls into {format_seconds(duration_s)}; give a longer --duration")
        raise ConfigError(
            "no model expects any prompts; say what is asked of them in models.yaml, like "
            "traffic: {rate_per_s: 2, input_tokens: 512, output_tokens: 256}, or give a --trace"
        )
    return Trace(name=NAME, seed=seed, prompts=in_order(prompts), kv_tokens=0)


def make_bursts(models: Mapping[str, ModelSettings], *, seed: int, bursts: Sequence[Burst]) -> Trace:
    """So many prompts of each burst, with lengths as its model's entry expects."""
    prompts: list[TracePrompt] = []
    for at, burst in enumerate(bursts):
        generator = random.Random(f"{seed}:{at}:{burst.model}")
        arrivals = list(islice(_arrivals(generator, burst.rate_per_s, burst.begin_s, inf), burst.prompts))
        prompts += _of_model(burst.model, models[burst.model], generator, arrivals, _ANY)
    return Trace(name="bursts", seed=seed, prompts=in_order(prompts), kv_tokens=0)


def _arrivals(generator: random.Random, rate_per_s: float, begin_s: float, end_s: float) -> Iterator[float]:
    """A Poisson process."""
    at_s = begin_s
    while rate_per_s > 0:
        at_s += generator.expovariate(rate_per_s)
        if at_s >= end_s:
            return
        yield at_s


def _of_model(
    name: str, settings: ModelSettings, generator: random.Random, arrivals: list[float], context: int
) -> list[TracePrompt]:
    traffic = settings.traffic
    if not arrivals:
        return []
    if settings.kind is not Kind.LLM:
        size = traffic.duration_s if settings.kind is Kind.AUDIO else None
        return [
            TracePrompt(number=number, arrival_s=at_s, input_tokens=1, output_tokens=1, model=name, size=size)
            for number, at_s in enumerate(arrivals)
        ]
    most = min(settings.max_context or _ANY, context) // 2
    inputs = _lengths(traffic.input_tokens, most).draw(generator, len(arrivals))
    outputs = _lengths(traffic.output_tokens, most).draw(generator, len(arrivals))
    adapters = [generator.randrange(traffic.adapters) if traffic.adapters else None for _ in arrivals]
    return [
        TracePrompt(
            number=number,
            arrival_s=at_s,
            input_tokens=given,
            output_tokens=asked,
            model=name,
            adapter=adapters[number],
        )
        for number, (at_s, given, asked) in enumerate(zip(arrivals, inputs, outputs, strict=True))
    ]


def _lengths(mean: int, most: int) -> Lengths:
    mean = min(mean, most)
    low, high = max(1, round(_LOW * mean)), max(mean, min(most, round(_HIGH * mean)))
    return Lengths(mean=mean, low=low, high=high)

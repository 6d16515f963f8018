"""Traces of what models.yaml expects of its models: Poisson arrivals, lengths lognormal about their means."""

from __future__ import annotations

import random
from collections.abc import Mapping

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.traces.built_in import Lengths
from aquahost.traces.trace import Trace, TracePrompt, in_order

_LOW, _HIGH = 0.05, 8.0
"""Lengths lie within these multiples of their mean."""
NAME = "traffic"
_ANY = 1 << 30


def make_traffic(
    models: Mapping[str, ModelSettings],
    *,
    seed: int,
    duration_s: float,
    times: float = 1.0,
    contexts: Mapping[str, int] | None = None,
) -> Trace:
    """What is asked of these models in so many seconds, at `times` the rates that their entries expect.

    `contexts`: most tokens of a prompt and its reply, by model; neither takes more than half of that. Every model has
    its own random stream, so that one more model changes nothing of the others'. Raises ConfigError if no entry expects
    anything.
    """
    prompts = [
        prompt
        for name, settings in models.items()
        for prompt in _of_model(
            name,
            settings,
            random.Random(f"{seed}:{name}"),
            duration_s,
            times * settings.traffic.rate_per_s,
            min(settings.max_context or _ANY, (contexts or {}).get(name, _ANY)) // 2,
        )
    ]
    if not prompts:
        raise ConfigError(
            "no model expects any prompts; say what is asked of them in models.yaml, like "
            "traffic: {rate_per_s: 2, input_tokens: 512, output_tokens: 256}, or give a --trace"
        )
    ordered = in_order(prompts)
    return Trace(name=NAME, seed=seed, prompts=ordered, kv_tokens=0)


def _of_model(
    name: str, settings: ModelSettings, generator: random.Random, duration_s: float, rate_per_s: float, most: int
) -> list[TracePrompt]:
    traffic = settings.traffic
    arrivals: list[float] = []
    at_s = generator.expovariate(rate_per_s) if rate_per_s else duration_s
    while at_s < duration_s:
        arrivals.append(at_s)
        at_s += generator.expovariate(rate_per_s)
    if not arrivals:
        return []
    if settings.kind is not Kind.LLM:
        size = traffic.duration_s if settings.kind is Kind.AUDIO else None
        return [
            TracePrompt(number=number, arrival_s=at_s, input_tokens=1, output_tokens=1, model=name, size=size)
            for number, at_s in enumerate(arrivals)
        ]
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

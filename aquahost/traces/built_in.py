"""Traces made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aquahost.traces.trace import KV_PROMPTS, SLACK_TOKENS, Trace, TracePrompt, in_order, kv_room, room_for

_BURST_S = 1.0
_SIGMA = 0.8
_PEERS_KV_PROMPTS = 12
_HEAVY_TIMES = 10
"""How much more the tenant `heavy` asks for than `light`."""
_TENANTS_BATCH = 16
"""Fewer than twice the light tenant's prompts, so that half of the places are not enough for it either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many tokens prompts take or give: lognormal, clipped, with this mean after clipping."""

    mean: float
    low: int
    high: int

    def draw(self, generator: random.Random, count: int) -> list[int]:
        """`count` lengths whose own mean is `mean`, but for rounding: every seed makes a server work as much."""
        factors = [generator.lognormvariate(0, _SIGMA) for _ in range(count)]
        small, large = self.low / max(factors), self.high / min(factors)
        for _ in range(60):
            middle = (small + large) / 2
            if sum(self._clipped(middle * factor) for factor in factors) < self.mean * count:
                small = middle
            else:
                large = middle
        return [round(self._clipped(small * factor)) for factor in factors]

    def _clipped(self, length: float) -> float:
        return min(max(length, self.low), self.high)


_INPUT = Lengths(mean=64, low=4, high=512)
_OUTPUT = Lengths(mean=384, low=16, high=1536)
_SHORT = (Lengths(mean=32, low=4, high=128), Lengths(mean=64, low=16, high=256))
_LONG = (Lengths(mean=512, low=256, high=1024), Lengths(mean=768, low=384, high=1024))
_SHORT_OF_FOUR = 3
_MEAN_TOKENS = round(_INPUT.mean + _OUTPUT.mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A built-in trace."""

    about: str
    prompts: int
    """How many it has unless told otherwise."""
    max_batch: int | None = None
    build: Callable[[random.Random, int, float], tuple[list[TracePrompt], int]]
    """Prompts in any order and tokens of KV room, from a generator, a number of prompts and a rate."""


def make_trace(name: str, *, seed: int, prompts: int | None = None, rate_per_s: float = 8.0) -> Trace:
    """The built-in trace of that name, the same for the same seed; `rate_per_s` is for `poisson` alone."""
    built = TRACES[name]
    made, kv_tokens = built.build(random.Random(seed), prompts or built.prompts, rate_per_s)
    return Trace(
        name=name, seed=seed, prompts=in_order(made), kv_tokens=room_for(made, kv_tokens), max_batch=built.max_batch
    )


def _burst(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    arrivals = [generator.uniform(0, _BURST_S) for _ in range(count)]
    return _prompts(generator, arrivals, _INPUT, _OUTPUT), KV_PROMPTS * _MEAN_TOKENS


def _poisson(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    arrivals = [0.0]
    while len(arrivals) < count:
        arrivals.append(arrivals[-1] + generator.expovariate(rate_per_s))
    return _prompts(generator, arrivals, _INPUT, _OUTPUT), KV_PROMPTS * _MEAN_TOKENS


def _mixed(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    """Three short prompts for a long one, in no order."""
    arrivals = [generator.uniform(0, _BURST_S) for _ in range(count)]
    shorts = max(count * _SHORT_OF_FOUR // 4, 1)
    made = _prompts(generator, arrivals[:shorts], *_SHORT)
    if count > shorts:
        made += _prompts(generator, arrivals[shorts:], *_LONG, first=shorts)
    return made, kv_room(made)


def _fits(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    made, _ = _burst(generator, count, rate_per_s)
    return made, sum(prompt.tokens + SLACK_TOKENS for prompt in made)


def _peers(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    low, high, output_tokens = 64, 512, 128
    made = [
        TracePrompt(
            number=number,
            arrival_s=generator.uniform(0, _BURST_S),
            input_tokens=generator.randint(low, high),
            output_tokens=output_tokens,
        )
        for number in range(count)
    ]
    return made, _PEERS_KV_PROMPTS * ((low + high) // 2 + output_tokens)


def _tenants(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    """Both within the same second, so that both have prompts waiting until the light one is through."""
    lights = max(count // (_HEAVY_TIMES + 1), 1)
    light, kv_tokens = _burst(generator, lights, rate_per_s)
    heavy, _ = _burst(generator, lights * _HEAVY_TIMES, rate_per_s)
    return [
        *(replace(prompt, tenant="light") for prompt in light),
        *(replace(prompt, tenant="heavy", number=prompt.number + lights) for prompt in heavy),
    ], kv_tokens


def _light_alone(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    both, _ = _tenants(generator, count, rate_per_s)
    return [prompt for prompt in both if prompt.tenant == "light"], KV_PROMPTS * _MEAN_TOKENS


def _prompts(
    generator: random.Random, arrivals: Sequence[float], inputs: Lengths, outputs: Lengths, first: int = 0
) -> list[TracePrompt]:
    """A prompt for each arrival, numbered from `first`."""
    drawn = zip(arrivals, inputs.draw(generator, len(arrivals)), outputs.draw(generator, len(arrivals)), strict=True)
    return [
        TracePrompt(number=number, arrival_s=arrival_s, input_tokens=input_tokens, output_tokens=output_tokens)
        for number, (arrival_s, input_tokens, output_tokens) in enumerate(drawn, first)
    ]


TRACES = {
    "burst": Built(about="96 prompts within a second", prompts=96, build=_burst),
    "poisson": Built(about="the same prompts, one by one at --rate", prompts=96, build=_poisson),
    "mixed": Built(about="72 short and 24 long prompts within a second", prompts=96, build=_mixed),
    "fits": Built(about="8 prompts with room for all", prompts=8, build=_fits),
    "peers": Built(about="64 prompts, 64 to 512 tokens in, 128 out", prompts=64, build=_peers),
    "tenants": Built(
        about="two tenants of equal weight, one sends ten times the other's load, in batches of 16",
        prompts=132,
        max_batch=_TENANTS_BATCH,
        build=_tenants,
    ),
    "light-alone": Built(
        about="the lighter of these tenants without the other",
        prompts=132,
        max_batch=_TENANTS_BATCH,
        build=_light_alone,
    ),
}
"""By name. `prompts` of the last counts both tenants', so that the same number makes the same light prompts."""

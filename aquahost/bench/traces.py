"""What is asked of a server, and when: traces made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_BURST_S = 1.0
_SIGMA = 0.8
_KV_PROMPTS = 8
"""Prompts of mean length that a trace's KV memory has room for, unless it says otherwise."""
_PEERS_KV_PROMPTS = 12
_HEAVY_TIMES = 10
"""How much more the tenant `heavy` asks for than `light`."""
_TENANTS_BATCH = 16
"""Fewer than twice the light tenant's prompts, so that half of the places are not enough for it either."""
_SLACK_TOKENS = 64
"""Beyond a prompt's own KV: the rest of its last block, and what a scheduler keeps free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePrompt:
    """One prompt to send."""

    number: int
    """Which prompt of the trace it is; what it says follows from that."""
    arrival_s: float
    """After the trace's begin."""
    input_tokens: int
    output_tokens: int
    tenant: str = ""
    model: str = ""
    """Empty for the one model that is measured."""

    @property
    def tokens(self) -> int:
        """What it takes of KV memory at its end."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Prompts in the order of their arrival."""

    name: str
    seed: int | None
    """None for a trace that was read."""
    prompts: tuple[TracePrompt, ...]
    kv_tokens: int
    """Tokens that the measured model's own GPU has room for."""
    max_batch: int | None = None
    """Most prompts of a step, where that is not to be the daemon's default."""

    @property
    def tenants(self) -> list[str]:
        """Names of the tenants, sorted; none where the trace has no tenants."""
        return sorted({prompt.tenant for prompt in self.prompts} - {""})

    @property
    def models(self) -> list[str]:
        """Names of the models that prompts ask for, sorted; "" is the one that is measured."""
        return sorted({prompt.model for prompt in self.prompts})

    @property
    def longest_tokens(self) -> int:
        """Input and output together of the longest prompt."""
        return max(prompt.tokens for prompt in self.prompts)


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


def in_order(prompts: Sequence[TracePrompt]) -> tuple[TracePrompt, ...]:
    """`prompts` by their arrival."""
    return tuple(sorted(prompts, key=lambda prompt: (prompt.arrival_s, prompt.number)))


def room_for(prompts: Sequence[TracePrompt], kv_tokens: int) -> int:
    """`kv_tokens`, or what the longest prompt needs if that is more: without room for it, it could not run at all."""
    return max(kv_tokens, max(prompt.tokens for prompt in prompts) + _SLACK_TOKENS)


def kv_room(prompts: Sequence[TracePrompt], kv_prompts: float = _KV_PROMPTS) -> int:
    """Tokens of KV memory for so many prompts of the mean length of `prompts`."""
    return room_for(prompts, round(kv_prompts * sum(prompt.tokens for prompt in prompts) / len(prompts)))


def _burst(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    arrivals = [generator.uniform(0, _BURST_S) for _ in range(count)]
    return _prompts(generator, arrivals, _INPUT, _OUTPUT), _KV_PROMPTS * _MEAN_TOKENS


def _poisson(generator: random.Random, count: int, rate_per_s: float) -> tuple[list[TracePrompt], int]:
    arrivals = [0.0]
    while len(arrivals) < count:
        arrivals.append(arrivals[-1] + generator.expovariate(rate_per_s))
    return _prompts(generator, arrivals, _INPUT, _OUTPUT), _KV_PROMPTS * _MEAN_TOKENS


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
    return made, sum(prompt.tokens + _SLACK_TOKENS for prompt in made)


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
    return [prompt for prompt in both if prompt.tenant == "light"], _KV_PROMPTS * _MEAN_TOKENS


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

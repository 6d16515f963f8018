"""How long a plan of 256 models on 256 GPUs takes, how near it is to the best, and AQUA's beside it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from aquahost.bench.figures import Figure, at_most
from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings, TrafficSettings
from aquahost.placement.fleet import fleet_of
from aquahost.placement.language_load import LanguageTraffic, language_load
from aquahost.placement.needs import Need, need_of
from aquahost.placement.plan import Plan
from aquahost.placement.planner import make_plan
from aquahost.profiles.data_sheets import parse_node
from aquahost.profiles.profile import GatedCosts, LanguageCosts, Profile, SizedCost
from aquahost.profiles.step_costs import RooflineSteps
from aquahost.quiet_stdout import quiet_stdout

SERVERS, NODE, MODELS = 32, "8xH100", 256
_BAR_S = 60.0
_BAR_GAP = 0.01
_GIB = 1 << 30
_SHEET = parse_node(NODE).sheet
_SCHEDULER = SchedulerSettings(step_tokens=2048, max_batch=128)
_ACHIEVED_MEMORY, _ACHIEVED_FLOPS = 0.75, 0.5
"""Of the data sheet's rates."""
_BUSY = 0.5, 0.97
"""How much of what it can answer a language model is asked for."""
_SIZE = 10.0
"""Of what is asked of these: the default of an audio model's traffic."""
_RARELY = 1e-6


@dataclass(frozen=True, slots=True)
class _Language:
    """The shape of a language model in bfloat16."""

    name: str
    parameters: float
    kv_token_bytes: int
    group: int = 1


@dataclass(frozen=True, slots=True)
class _Other:
    """An image or audio model."""

    name: str
    kind: Kind
    weights_bytes: int
    peak_bytes: int
    request_s: float


_LANGUAGE = (
    _Language("llama-8b", 8.0e9, 131_072),
    _Language("mistral-7b", 7.2e9, 131_072),
    _Language("qwen-14b", 14.8e9, 196_608),
    _Language("qwen-32b", 32.5e9, 262_144),
    _Language("codellama-34b", 33.7e9, 196_608),
)
_PAIRS = (_Language("llama-70b", 70.6e9, 327_680, 2),)
_OTHER = (
    _Other("sdxl", Kind.IMAGE, 7 * _GIB, 4 * _GIB, 2.2),
    _Other("sd-1.5", Kind.IMAGE, 2 * _GIB, 2 * _GIB, 0.9),
    _Other("music", Kind.AUDIO, 6 * _GIB, 3 * _GIB, 9.0),
)


def measure_plan() -> list[Figure]:
    """Two fleets of 32 servers with 8 H100s each, made from seeds: models of one GPU, a model for each GPU, so that
    AQUA has a plan too; and some of two GPUs and some in two copies, so that GPUs must be shared."""
    alone_s, alone = _timed(example(1, others=0.15))
    shared_s, shared = _timed(example(2, others=0.3, wide=True))
    figures = [
        *_figures(f"{MODELS} models on {SERVERS} x {NODE}", alone_s, alone),
        *_figures(f"the same with groups and replicas ({len(shared.models)} replicas)", shared_s, shared),
    ]
    aqua = alone.aqua
    if aqua is not None:
        gap = 1 - aqua.aqua_bound_bytes / aqua.aqua_bytes
        figures += [
            at_most("AQUA's objective: our plan", aqua.ours_bytes / _GIB, "GiB", aqua.aqua_bytes / _GIB),
            Figure(
                name="AQUA's objective: its plan",
                value=aqua.aqua_bytes / _GIB,
                unit="GiB",
                note=f"by the same solver, within {gap:.1%} of its bound",
            ),
            at_most("unmet demand: our plan", aqua.ours_unmet_bytes / _GIB, "GiB", aqua.aqua_unmet_bytes / _GIB),
            Figure(
                name="unmet demand: AQUA's plan",
                value=aqua.aqua_unmet_bytes / _GIB,
                unit="GiB",
                note="if it could lend many to many",
            ),
        ]
    return figures


def example(seed: int, *, models: int = MODELS, others: float, wide: bool = False) -> list[Need]:
    """What `models` models need under traffic drawn from `seed`; a part of them, `others`, make images or sounds.

    With `wide` some language models take two GPUs, and some come in twos.
    """
    draw = random.Random(seed)
    return [_other(n, draw) if draw.random() < others else _language(n, draw, wide) for n in range(models)]


def _other(number: int, draw: random.Random) -> Need:
    other = draw.choice(_OTHER)
    rate = draw.uniform(0.05, 0.6) / other.request_s
    settings = ModelSettings(kind=other.kind, source="-", max_concurrent=1, traffic=TrafficSettings(rate_per_s=rate))
    size = SizedCost(
        size=_SIZE, peak_bytes=other.peak_bytes, held_bytes=0, begin_s=0.0, step_s=other.request_s / 50, end_s=0.0
    )
    costs = GatedCosts(weights_bytes=other.weights_bytes, sizes=(size,), default_steps=50, default_size=_SIZE)
    return need_of(f"{other.name}-{number}", settings, _profile(costs), _SCHEDULER)


def _language(number: int, draw: random.Random, wide: bool) -> Need:
    shape = draw.choice(_LANGUAGE + _PAIRS if wide else _LANGUAGE)
    costs = _language_costs(shape)
    tokens = draw.choice((1024, 2048, 4096, 8192)), draw.choice((256, 512, 1024))
    one = LanguageTraffic(
        rate_per_s=_RARELY,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        step_tokens=_SCHEDULER.step_tokens,
        max_batch=_SCHEDULER.max_batch,
    )
    most_per_s = _RARELY / language_load(costs, one).utilisation
    replicas = 2 if wide and draw.random() < 0.1 else 1
    traffic = TrafficSettings(
        rate_per_s=replicas * most_per_s * draw.uniform(*_BUSY), input_tokens=tokens[0], output_tokens=tokens[1]
    )
    settings = ModelSettings(kind=Kind.LLM, source="-", tensor_parallel=shape.group, replicas=replicas, traffic=traffic)
    return need_of(f"{shape.name}-{number}", settings, _profile(costs), _SCHEDULER)


def _language_costs(shape: _Language) -> LanguageCosts:
    weights_bytes = round(2 * shape.parameters / shape.group)
    return LanguageCosts(
        weights_bytes=weights_bytes,
        kv_token_bytes=shape.kv_token_bytes // shape.group,
        peak_bytes=_GIB,
        context_tokens=16_384,
        step=RooflineSteps(
            weights_bytes=weights_bytes,
            token_flops=2 * shape.parameters / shape.group,
            pair_flops=0.0,
            kv_token_bytes=shape.kv_token_bytes / shape.group,
            memory_bytes_per_s=_ACHIEVED_MEMORY * _SHEET.memory_bytes_per_s,
            flops=_ACHIEVED_FLOPS * _SHEET.flops,
            launch_s=1e-3,
        ),
    )


def _profile(costs: LanguageCosts | GatedCosts) -> Profile:
    return Profile(source="-", key="-", gpu=_SHEET.name, dtype="bfloat16", measured=False, costs=costs)


def _timed(needs: list[Need]) -> tuple[float, Plan]:
    began_s = time.perf_counter()
    with quiet_stdout():
        plan = make_plan(needs, fleet_of(parse_node(NODE), servers=SERVERS))
    return time.perf_counter() - began_s, plan


def _figures(name: str, took_s: float, plan: Plan) -> list[Figure]:
    unmet, worst, sharing, busiest = plan.goals
    asked = f"{plan.demand_bytes / _GIB:.0f} GiB of KV asked for"
    return [
        at_most(f"{name}: time to plan", took_s, "s", _BAR_S),
        at_most(
            f"{name}: unmet demand above the bound",
            100 * unmet.gap,
            "%",
            100 * _BAR_GAP,
            note=f"{unmet.value / _GIB:.1f} GiB, bound {unmet.bound / _GIB:.1f} GiB; {asked}",
        ),
        Figure(
            name=f"{name}: the worst server's above the bound",
            value=100 * worst.gap,
            unit="%",
            note=f"{worst.value / _GIB:.1f} GiB, bound {worst.bound / _GIB:.1f} GiB",
        ),
        Figure(
            name=f"{name}: models that share a GPU",
            value=sharing.value,
            unit="",
            note=f"bound {sharing.bound:.0f}; the busiest GPU works {busiest.value:.0%} of the time",
        ),
    ]

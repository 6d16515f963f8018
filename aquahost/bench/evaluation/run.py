"""Runs cases, each under every setup and seed, and takes medians over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from aquahost.bench.evaluation.cases import COMPARED, OUR_SETUP, Case, Setup
from aquahost.config.loader import load_settings
from aquahost.config.settings import Settings
from aquahost.profiler.lookup import profiles_of
from aquahost.profiles.data_sheets import Node, parse_node
from aquahost.profiles.profile import LanguageCosts, Profile
from aquahost.simulator.aqua.coordinator import Pair
from aquahost.simulator.links import Switched
from aquahost.simulator.node import Hosted
from aquahost.simulator.run import Machine, simulate
from aquahost.traces.replies import Row
from aquahost.traces.trace import Trace
from aquahost.traces.traffic import make_bursts, make_traffic

FIGURES = (
    "ttft_p50_s",
    "ttft_p99_s",
    "itl_p50_s",
    "itl_p99_s",
    "longest_gap_s",
    "completion_mean_s",
    "completion_p99_s",
    "output_tokens_per_s",
    "paged_bytes",
    "failed",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One model under one setup: medians over the seeds."""

    case: str
    model: str
    policy: str
    tier: str
    prompts: int
    seeds: int
    figures: dict[str, float | None]
    """By `FIGURES`."""
    decode_tokens_per_s: float | None
    """Of a single prompt: tokens after its first, over the time from that to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Fair slices with neighbours against another setup, for the case's subject: of each seed the ratio, then the
    median. Above 1 is better."""

    against: str
    ttft_p99_times: float
    """How many times shorter."""
    completion_times: float
    """How many times shorter, on average."""
    tokens_per_s_times: float
    """How many times as many."""
    ttft_p99_by_seed: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """All of one case."""

    rows: list[EvaluationRow]
    comparisons: list[Comparison]


class Evaluation:
    """Owns what the cases share: where their files are, and profiles that were worked out already."""

    def __init__(self, folder: Path, progress: Callable[[str], None]) -> None:
        """`folder`: of models.yaml files, examples/evaluation."""
        self._folder = folder
        self._progress = progress

    def run(self, case: Case, seeds: Sequence[int]) -> CaseResult:
        """Run a case: a row for each model to which something is sent, under each setup."""
        settings, node = load_settings(self._folder / case.file), parse_node(case.node)
        profiles = self._profiles(settings, node, case)
        hosted = _placed(settings, profiles)
        machine = Machine(name=node.name, gpu_bytes=(node.sheet.memory_bytes,) * node.gpus, wiring=Switched(node))
        pairs = None if case.lent_bytes is None else [Pair(*one) for one in case.lent_bytes]
        traces = [self._trace(case, settings, profiles, seed) for seed in seeds]
        found: dict[Setup, dict[str, list[Row]]] = {}
        for policy, tier in case.setups:
            by_model = found.setdefault((policy, tier), {})
            for seed, trace in zip(seeds, traces, strict=True):
                self._progress(f"{case.name}: {policy}, {tier}, seed {seed}")
                done = simulate(settings, hosted, machine, trace, policy=policy, tier=tier, pairs=pairs)
                for name, row in done.by_model.items():
                    if row.prompts:
                        by_model.setdefault(name, []).append(row)
        rows = [
            _medians(case, name, policy, tier, taken)
            for (policy, tier), by_model in found.items()
            for name, taken in by_model.items()
        ]
        return CaseResult(rows=rows, comparisons=_comparisons(case, found))

    def _profiles(self, settings: Settings, node: Node, case: Case) -> dict[str, Profile]:
        scheduler = settings.scheduler
        profiles = profiles_of(
            settings.models,
            node.sheet,
            step_tokens=scheduler.step_tokens,
            max_batch=scheduler.max_batch,
            progress=self._progress,
        )
        if case.context_tokens is None:
            return profiles
        return {name: _with_context(profile, case.context_tokens) for name, profile in profiles.items()}

    def _trace(self, case: Case, settings: Settings, profiles: dict[str, Profile], seed: int) -> Trace:
        if case.bursts:
            return make_bursts(settings.models, seed=seed, bursts=case.bursts)
        contexts = {
            name: profile.costs.context_tokens
            for name, profile in profiles.items()
            if isinstance(profile.costs, LanguageCosts)
        }
        return make_traffic(settings.models, seed=seed, duration_s=case.duration_s, contexts=contexts)


def _placed(settings: Settings, profiles: dict[str, Profile]) -> list[Hosted]:
    """Models on the GPUs that their entries name, others one by one on the next."""
    hosted, following = [], 0
    for name, model in settings.models.items():
        first = following if model.gpu == "auto" else model.gpu
        gpus = tuple(range(first, first + model.tensor_parallel))
        following = gpus[-1] + 1
        hosted.append(Hosted(name=name, settings=model, profile=profiles[name], gpus=gpus))
    return hosted


def _with_context(profile: Profile, context_tokens: int) -> Profile:
    if not isinstance(profile.costs, LanguageCosts):
        return profile
    costs = msgspec.structs.replace(profile.costs, context_tokens=context_tokens)
    return msgspec.structs.replace(profile, costs=costs)


def _medians(case: Case, model: str, policy: str, tier: str, rows: Sequence[Row]) -> EvaluationRow:
    figures: dict[str, float | None] = {}
    for name in FIGURES:
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        figures[name] = statistics.median(values) if values else None
    first = rows[0]
    decode = None
    if first.prompts == 1 and first.ttft_p50_s is not None and first.completion_mean_s is not None:
        decode = (first.output_tokens - 1) / (first.completion_mean_s - first.ttft_p50_s)
    return EvaluationRow(
        case=case.name,
        model=model,
        policy=policy,
        tier=tier,
        prompts=first.prompts,
        seeds=len(rows),
        figures=figures,
        decode_tokens_per_s=decode,
    )


def _comparisons(case: Case, found: dict[Setup, dict[str, list[Row]]]) -> list[Comparison]:
    ours = found.get(OUR_SETUP, {}).get(case.subject, [])
    compared = []
    for setup in COMPARED:
        theirs = found.get(setup, {}).get(case.subject, [])
        if ours and theirs and all(row.failed < row.prompts for row in [*ours, *theirs]):
            ttft = [_ratio(b.ttft_p99_s, a.ttft_p99_s) for a, b in zip(ours, theirs, strict=True)]
            done = [_ratio(b.completion_mean_s, a.completion_mean_s) for a, b in zip(ours, theirs, strict=True)]
            rate = [_ratio(a.output_tokens_per_s, b.output_tokens_per_s) for a, b in zip(ours, theirs, strict=True)]
            compared.append(
                Comparison(
                    against=" × ".join(setup),
                    ttft_p99_times=statistics.median(ttft),
                    completion_times=statistics.median(done),
                    tokens_per_s_times=statistics.median(rate),
                    ttft_p99_by_seed=ttft,
                )
            )
    return compared


def _ratio(above: float | None, below: float | None) -> float:
    return above / below if above is not None and below else float("nan")

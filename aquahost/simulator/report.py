"""What a simulated trace came to, in figures, for tables and programs; without the replies, which take gigabytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aquahost.config.settings import Kind
from aquahost.simulator.node import Hosted
from aquahost.simulator.occupancy import Occupancy
from aquahost.simulator.run import Machine, Simulated
from aquahost.traces.replies import Row
from aquahost.traces.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """One model, all its replicas together."""

    name: str
    kind: str
    row: Row
    busy: float
    """Share of the time in which it computed; replicas' mean."""
    requests_per_s: float
    """Ended, over the time from its first arrival to its last completion."""
    steps_per_s: float
    """Likewise; of language models tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """One GPU: bytes are means over the time to the last reply."""

    gpu: int
    models: list[str]
    utilisation: float
    """Share of the time in which it computed."""
    total_bytes: int
    weights_bytes: float
    kv_bytes: float
    work_bytes: float
    lent_bytes: float
    borrowed_bytes: float
    free_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run."""

    policy: str
    tier: str
    total: Row
    models: list[ModelReport]
    gpus: list[GpuReport]
    ttft_s: Sequence[float] = field(repr=False)
    """Of each prompt that succeeded, ascending."""
    occupancy: Occupancy = field(repr=False)
    took_s: float
    """Virtual time to the last reply."""

    def data(self) -> dict[str, Any]:
        """For programs: the total's row as `aquahost bench burst -o json` has it, and rows of models and GPUs in it."""
        models = [
            {
                "model": one.name,
                "kind": one.kind,
                **_row(one.row),
                "busy": one.busy,
                "requests_per_s": one.requests_per_s,
                "steps_per_s": one.steps_per_s,
            }
            for one in self.models
        ]
        return {**_row(self.total), "models": models, "gpus": msgspec.to_builtins(self.gpus)}


def report_of(done: Simulated, hosted: Sequence[Hosted], machine: Machine) -> Report:
    """The figures of a run that has ended."""
    kinds = {one.name: one.settings.kind for one in hosted}
    sole = next(iter(kinds)) if len(kinds) == 1 else ""
    steps = dict.fromkeys(kinds, 0)
    for reply in done.replies:
        if not reply.failure:
            steps[reply.prompt.model or sole] += len(reply.chunk_s)
    models = [
        ModelReport(
            name=name,
            kind=str(kind),
            row=row,
            busy=done.busy[name],
            requests_per_s=_rate(row.prompts - row.failed, row.took_s),
            steps_per_s=row.output_tokens_per_s if kind is Kind.LLM else _rate(steps[name], row.took_s),
        )
        for name, kind in kinds.items()
        for row in [done.by_model[name]]
    ]
    return Report(
        policy=done.policy,
        tier=done.tier,
        total=done.total,
        models=models,
        gpus=_gpus(done, hosted, machine),
        ttft_s=sorted(reply.ttft_s for reply in done.replies if not reply.failure),
        occupancy=done.occupancy,
        took_s=done.took_s,
    )


def described(trace: Trace) -> dict[str, Any]:
    """A trace, for programs."""
    prompts = trace.prompts
    return {
        "name": trace.name,
        "seed": trace.seed,
        "prompts": len(prompts),
        "span_s": prompts[-1].arrival_s if prompts else 0.0,
        "models": trace.models,
        "tenants": trace.tenants,
    }


def placement_of(hosted: Sequence[Hosted]) -> list[dict[str, Any]]:
    """Which GPUs hold which model, and what its costs are known by, for programs."""
    return [
        {
            "model": one.name,
            "gpus": list(one.gpus),
            "weights_bytes": one.profile.weights_bytes,
            "profile": {"gpu": one.profile.gpu, "dtype": one.profile.dtype, "measured": one.profile.measured},
        }
        for one in hosted
    ]


def _gpus(done: Simulated, hosted: Sequence[Hosted], machine: Machine) -> list[GpuReport]:
    return [
        GpuReport(
            gpu=gpu,
            models=[one.name for one in hosted if gpu in one.gpus],
            utilisation=busy,
            total_bytes=total,
            **{f"{use}_bytes": nbytes for use, nbytes in means.items()},
        )
        for gpu, (total, busy, means) in enumerate(
            zip(machine.gpu_bytes, done.gpu_busy, done.occupancy.means(done.took_s), strict=True)
        )
    ]


def _row(row: Row) -> dict[str, Any]:
    """Without what only live runs have."""
    live = ("slice_p50_s", "gap_bound_s", "others_cores", "runs", "medians")
    return {name: value for name, value in msgspec.to_builtins(row).items() if name not in live}


def _rate(count: int, took_s: float) -> float:
    return count / took_s if took_s > 0 else 0.0

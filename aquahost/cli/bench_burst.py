"""`aquahost bench burst`: a trace replayed under every policy and tier, or against any server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from aquahost.cli.burst_options import (
    KeyOption,
    ModelOption,
    PngOption,
    PoliciesOption,
    PromptsOption,
    RateOption,
    RunsOption,
    SeedOption,
    TiersOption,
    TokenIdsOption,
    TraceOption,
    UrlOption,
    asked_setups,
    asked_target,
    asked_trace,
    check_png,
)
from aquahost.cli.output import Form, FormOption, say

if TYPE_CHECKING:
    from aquahost.bench.burst import Burst
    from aquahost.bench.replay import Target
    from aquahost.traces.trace import Trace

_QUIET_CORES = 0.2
"""Cores that others may keep busy without spoiling a row."""


def burst(
    trace: TraceOption = "burst",
    seed: SeedOption = 1,
    prompts: PromptsOption = None,
    rate: RateOption = 8.0,
    runs: RunsOption = 1,
    policies: PoliciesOption = "fcfs,fair",
    tiers: TiersOption = "recompute,host,peer",
    url: UrlOption = None,
    model: ModelOption = None,
    key: KeyOption = None,
    token_ids: TokenIdsOption = False,
    png: PngOption = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Replay a trace of prompts over HTTP under each policy and tier, or against any server.

    Each row is measured on a daemon of its own, whose one small model has room for the KV of a few prompts alone: the
    others must wait, be computed again, or be paged to host memory or to a neighbour of 8 emulated GPUs.

    A trace file has lines like {"arrival_s": 0.5, "input_tokens": 64, "output_tokens": 384, "tenant": "a", "model":
    "m"}; the last two may be left out.

    Examples:

      aquahost bench burst --trace burst --policies fcfs,fair --tiers recompute,host,peer -o json

      aquahost bench burst --trace tenants --policies fair --tiers peer --png fair

      aquahost bench burst --trace peers --url http://127.0.0.1:8000/v1 --model llama
    """
    target = asked_target(url, model, key, token_ids)
    setups = asked_setups(policies, tiers)
    asked = asked_trace(trace, seed=seed, prompts=prompts, rate_per_s=rate)
    if png is not None:
        check_png(png)
    measured = _measure(asked, target, setups, runs, seed)
    _show(measured, asked, output, png)


def _measure(trace: Trace, target: Target | None, setups: tuple[list[str], list[str]], runs: int, seed: int) -> Burst:
    from aquahost.bench.burst import measure_daemons, measure_server
    from aquahost.cli.burst_bar import burst_progress
    from aquahost.cli.ended import ended_by_sigterm

    policies, tiers = setups
    rows = 1 if target is not None else len(policies) * len(tiers)
    with ended_by_sigterm(), burst_progress(len(trace.prompts) * rows * runs) as watcher:
        if target is not None:
            return measure_server(trace, target, runs=runs, seed=seed, watcher=watcher)
        return measure_daemons(trace, policies, tiers, runs=runs, seed=seed, watcher=watcher)


def _show(measured: Burst, trace: Trace, output: Form, png: str | None) -> None:
    """Print the rows, draw the pictures, and end with 1 where a whole row failed."""
    from aquahost.cli.burst_table import about, write_burst

    write_burst(measured, trace, output)
    if png is not None:
        from aquahost.bench.burst_plot import write_plots

        for path in write_plots(measured, about(trace), png):
            say(f"drew {path}")
    rows = [one.row for one in measured.measured]
    for row in rows:
        if row.others_cores is not None and row.others_cores > _QUIET_CORES:
            say(f"{row.policy} × {row.tier}: something else kept {row.others_cores:.1f} cores busy; measure again")
        if row.failed:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in row.failures.items())
            say(f"{row.policy} × {row.tier}: {row.failed} of {row.prompts} prompts failed: {reasons}")
    if any(row.failed == row.prompts for row in rows):
        raise typer.Exit(1)

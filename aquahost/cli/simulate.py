"""`aquahost simulate`: what a node will do, on a virtual clock, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from aquahost.cli.burst_options import check_png
from aquahost.cli.durations import seconds
from aquahost.cli.files import check_record
from aquahost.cli.output import Form, FormOption, say
from aquahost.cli.simulate_options import (
    AskedTrace,
    DurationOption,
    FileArgument,
    GpusOption,
    ModelOption,
    OverwriteOption,
    PngOption,
    PoliciesOption,
    RecordOption,
    SeedOption,
    TiersOption,
    TimesOption,
    TraceOption,
)
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.cli.which_config import which_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from aquahost.cli.simulate_setup import Setup
    from aquahost.config.settings import Settings
    from aquahost.simulator.node import SimNode
    from aquahost.simulator.report import Report

    Look = tuple[float, Callable[[SimNode], None]]


def simulate(
    context: typer.Context,
    file: FileArgument = None,
    gpus: GpusOption = None,
    trace: TraceOption = "traffic",
    model: ModelOption = None,
    duration: DurationOption = None,
    rate_times: TimesOption = 1.0,
    seed: SeedOption = 1,
    policies: PoliciesOption = None,
    tiers: TiersOption = "peer",
    png: PngOption = None,
    record: RecordOption = None,
    overwrite: OverwriteOption = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Simulate what a node will do under a load, on a virtual clock: no GPUs, no weights.

    Scheduler, broker and memory sizing are those of the daemon; steps and copies take what profiles and data sheets
    say. Each policy × tier is a run of its own. Same profiles, trace and seed: same figures, to the bit.

    A trace file has lines like {"arrival_s": 0.5, "model": "chat", "input_tokens": 64, "output_tokens": 384}, and for
    image and audio models {"arrival_s": 2, "model": "paint", "size": 1048576, "steps": 30}: size in pixels or seconds.
    What is left out is the model's default: of a language model the means that its entry's traffic says. Either all
    lines name a tenant, like "tenant": "a", or none does. The first arrival becomes time 0; --duration leaves out what
    comes later than that after it.

    Examples:

      aquahost simulate examples/node8.yaml --gpus 8xH100

      aquahost simulate examples/node8.yaml --gpus 8xH200 --duration 1h --rate-times 1.5

      aquahost simulate examples/node8.yaml --gpus 8xH100 --policies fair,fcfs --tiers peer,host --png node8

      aquahost simulate examples/node8.yaml --gpus 8xH100 --record node8.jsonl.gz    # then: aquahost top --replay
    """
    around = surroundings(context)
    duration_s = None if duration is None else seconds(duration, "--duration")
    check_record(record, overwrite=overwrite)
    if png is not None:
        check_png(png)
    from aquahost.cli.simulate_setup import make_setup
    from aquahost.config.loader import load

    asked = AskedTrace(name=trace, model=model, duration_s=duration_s, times=rate_times, seed=seed)
    settings = load(which_config(around.env, file), around.env).settings
    chosen = _chosen(settings, policies, tiers)
    if record is not None and len(chosen) > 1:
        raise typer.BadParameter("takes one policy and one tier; this would be several runs", param_hint="'--record'")
    setup = make_setup(settings, gpus, asked)
    reports = _run(setup, chosen, around) if record is None else _recorded(setup, chosen, around, record)
    if png is not None:
        _draw(setup, reports, png)
    _show(setup, reports, output)


def _chosen(settings: Settings, policies: str | None, tiers: str) -> list[tuple[str, str]]:
    """Each policy with each tier."""
    from aquahost.cli.simulate_setup import asked_policies, asked_tiers

    return [(policy, tier) for policy in asked_policies(policies, settings) for tier in asked_tiers(tiers)]


def _recorded(setup: Setup, chosen: Sequence[tuple[str, str]], around: Surroundings, path: Path) -> list[Report]:
    from aquahost.cli.simulate_record import PERIOD_S, recording

    with recording(path, setup.trace) as written:
        return _run(setup, chosen, around, [(PERIOD_S, written.look)])


def _run(
    setup: Setup, chosen: Sequence[tuple[str, str]], around: Surroundings, looks: Sequence[Look] = ()
) -> list[Report]:
    from aquahost.cli.simulate_bar import simulation_progress
    from aquahost.simulator.report import report_of
    from aquahost.simulator.run import Watch
    from aquahost.simulator.run import simulate as simulate_trace

    began_s, reports = around.now_s(), []
    with simulation_progress(len(setup.trace.prompts), len(chosen), around.now_s) as watcher:
        for policy, tier in chosen:
            watcher.begin(f"{policy} × {tier}")
            watch = Watch(progress=watcher.come_to, looks=list(looks))
            done = simulate_trace(
                setup.settings, setup.hosted, setup.machine, setup.trace, policy=policy, tier=tier, watch=watch
            )
            reports.append(report_of(done, setup.hosted, setup.machine))
    virtual_s, took_s = sum(report.took_s for report in reports), around.now_s() - began_s
    say(f"simulated {virtual_s:,.0f} s of {setup.machine.name} in {took_s:.3g} s")
    return reports


def _draw(setup: Setup, reports: Sequence[Report], prefix: str) -> None:
    from aquahost.bench.simulation_plot import write_plots
    from aquahost.cli.simulate_table import about

    for path in write_plots(reports, f"{setup.machine.name}, {about(setup)}", prefix):
        say(f"drew {path}")


def _show(setup: Setup, reports: Sequence[Report], output: Form) -> None:
    """Print the figures, and end with 1 where a whole run failed."""
    from aquahost.cli.simulate_table import write_simulation
    from aquahost.units import counted

    write_simulation(setup, reports, output)
    for report in reports:
        row = report.total
        if row.failed:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in row.failures.items())
            say(
                f"{report.policy} × {report.tier}: {row.failed:,} of {counted(row.prompts, 'prompt')} failed: {reasons}"
            )
    if any(report.total.failed == report.total.prompts for report in reports):
        raise typer.Exit(1)

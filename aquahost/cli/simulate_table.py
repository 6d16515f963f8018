"""A simulation as tables or as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aquahost import __version__
from aquahost.cli.burst_table import time_text
from aquahost.cli.output import RED, Cell, Column, Form, one_line, write_data, write_line, write_table
from aquahost.units import counted, format_bytes

if TYPE_CHECKING:
    from aquahost.cli.simulate_setup import Setup
    from aquahost.simulator.report import GpuReport, ModelReport, Report
    from aquahost.traces.replies import Row

_TIMES = (
    ("TTFT P50", "ttft_p50_s"),
    ("P99", "ttft_p99_s"),
    ("MAX", "ttft_max_s"),
    ("ITL P50", "itl_p50_s"),
    ("P99", "itl_p99_s"),
    ("DONE MEAN", "completion_mean_s"),
    ("P99", "completion_p99_s"),
)
_MEMORY = ("weights", "kv", "work", "lent", "free", "borrowed")
_UNITS = {"image": "images/s", "audio": "sounds/s"}
_LEGEND = (
    "TTFT: to the first token, or step; ITL: between tokens, or steps; DONE: to the end; PAGED: KV copied out and in",
    "BUSY: share of the time in which some step ran, not load; memory of GPUs: averages over the run",
)


def write_simulation(setup: Setup, reports: Sequence[Report], form: Form) -> None:
    """Print all that came of it. Data are the same, byte for byte, for the same profiles, trace and seed."""
    if form is not Form.TABLE:
        write_data(_data(setup, reports), form)
        return
    for report in reports:
        write_line(f"{report.policy} × {report.tier}")
        _write_models(report)
        write_line("")
        _write_gpus(report.gpus)
        write_line("")
    if len(reports) > 1:
        _write_comparison(reports)
        write_line("")
    for line in _LEGEND:
        write_line(line)
    write_line(f"{setup.machine.name}; {about(setup)}")


def about(setup: Setup) -> str:
    """The trace in a few words."""
    trace = setup.trace
    name = one_line(trace.name) + ("" if trace.seed is None else f" of seed {trace.seed}")
    return f"{name}, {counted(len(trace.prompts), 'prompt')} in {trace.prompts[-1].arrival_s:.4g} s"


def _data(setup: Setup, reports: Sequence[Report]) -> dict[str, Any]:
    from aquahost.simulator.report import described, placement_of

    machine = setup.machine
    return {
        "version": __version__,
        "node": {"name": machine.name, "gpu_bytes": list(machine.gpu_bytes), "chunk_bytes": machine.chunk_bytes},
        "trace": described(setup.trace),
        "placement": placement_of(setup.hosted),
        "rows": [report.data() for report in reports],
    }


def _write_models(report: Report) -> None:
    columns = [
        Column("MODEL"),
        *_columns("PROMPTS", "FAILED", *(title for title, _ in _TIMES), "RATE", "BUSY", "PAGED"),
    ]
    write_table(columns, [*(_model(one) for one in report.models), _total(report)])


def _model(one: ModelReport) -> list[Cell | str]:
    rate = one.row.output_tokens_per_s if one.kind == "llm" else one.requests_per_s
    digits = f"{rate:,.0f}" if one.kind == "llm" else f"{rate:.3g}"
    return [
        one_line(one.name),
        *_figures(one.row),
        f"{digits} {_UNITS.get(one.kind, 'tokens/s')}",
        f"{one.busy:.0%}",
        _bytes(one.row.paged_bytes),
    ]


def _total(report: Report) -> list[Cell | str]:
    row = report.total
    busy = sum(one.utilisation for one in report.gpus) / len(report.gpus)
    tokens = f"{row.output_tokens_per_s:,.0f} tokens/s"
    return ["all", *_figures(row), tokens, f"{busy:.0%}", _bytes(row.paged_bytes)]


def _write_gpus(gpus: Sequence[GpuReport]) -> None:
    columns = [Column("GPU", right=True), *_columns("BUSY", *(f"{use.upper()}" for use in _MEMORY)), Column("MODELS")]
    write_table(
        columns,
        [
            [
                str(one.gpu),
                f"{one.utilisation:.0%}",
                *(format_bytes(getattr(one, f"{use}_bytes")) for use in _MEMORY),
                ", ".join(map(one_line, one.models)) or "-",
            ]
            for one in gpus
        ],
    )


def _write_comparison(reports: Sequence[Report]) -> None:
    titles = [title for title, _ in _TIMES]
    columns = [Column("POLICY"), Column("TIER"), *_columns("PROMPTS", "FAILED", *titles, "TOKENS/S", "PAGED")]
    write_table(
        columns,
        [
            [
                one.policy,
                one.tier,
                *_figures(one.total),
                f"{one.total.output_tokens_per_s:,.0f}",
                _bytes(one.total.paged_bytes),
            ]
            for one in reports
        ],
    )


def _figures(row: Row) -> list[Cell | str]:
    failed = Cell(f"{row.failed:,}", RED if row.failed else "")
    return [f"{row.prompts:,}", failed, *(time_text(getattr(row, field)) for _, field in _TIMES)]


def _columns(*titles: str) -> list[Column]:
    return [Column(title, right=True) for title in titles]


def _bytes(nbytes: int | None) -> str:
    return "-" if nbytes is None else format_bytes(nbytes)

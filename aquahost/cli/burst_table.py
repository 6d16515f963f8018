"""A measured burst as a table or as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquahost.cli.output import RED, Cell, Column, Form, one_line, write_data, write_line, write_table
from aquahost.units import counted, format_bytes

if TYPE_CHECKING:
    from aquahost.bench.burst import Burst
    from aquahost.traces.replies import Row
    from aquahost.traces.trace import Trace

_TIMES = (
    ("TTFT P50", "ttft_p50_s"),
    ("P95", "ttft_p95_s"),
    ("P99", "ttft_p99_s"),
    ("MAX", "ttft_max_s"),
    ("ITL P50", "itl_p50_s"),
    ("P99", "itl_p99_s"),
    ("LONGEST GAP", "longest_gap_s"),
    ("SLICE", "slice_p50_s"),
    ("DONE MEAN", "completion_mean_s"),
    ("P99", "completion_p99_s"),
)


def write_burst(burst: Burst, trace: Trace, form: Form) -> None:
    """Print all that was measured."""
    from aquahost.bench.figures import this_place

    place = this_place()
    rows = [one.row for one in burst.measured]
    if form is not Form.TABLE:
        where = {"date": place.date, "commit": place.commit, "python": place.python, "packages": place.packages}
        floor = {"prefill_floor_s": burst.prefill_floor_s}
        write_data({"machine": place.machine, **where, "trace": _described(trace), **floor, "rows": rows}, form)
        return
    _write_rows(rows)
    if trace.tenants:
        write_line("")
        _write_tenants(rows)
    write_line(f"\ntrace {about(trace)}; room for {trace.kv_tokens:,} tokens")
    if burst.prefill_floor_s is not None:
        write_line(f"prefilling all prompts back to back: {time_text(burst.prefill_floor_s)}")
    write_line(f"{place.machine}; {place.date}; commit {place.commit}")


def about(trace: Trace) -> str:
    """A trace in a few words."""
    tokens_in = sum(prompt.input_tokens for prompt in trace.prompts)
    tokens_out = sum(prompt.output_tokens for prompt in trace.prompts)
    name = one_line(trace.name) + ("" if trace.seed is None else f" of seed {trace.seed}")
    return f"{name}, {counted(len(trace.prompts), 'prompt')}, {tokens_in:,} tokens in, {tokens_out:,} out"


def _described(trace: Trace) -> dict[str, Any]:
    return {
        "name": trace.name,
        "seed": trace.seed,
        "prompts": len(trace.prompts),
        "span_s": trace.prompts[-1].arrival_s,
        "input_tokens": sum(prompt.input_tokens for prompt in trace.prompts),
        "output_tokens": sum(prompt.output_tokens for prompt in trace.prompts),
        "kv_tokens": trace.kv_tokens,
        "tenants": trace.tenants,
    }


def _write_rows(rows: list[Row]) -> None:
    names = [title for title, _ in _TIMES]
    columns = [Column("POLICY"), Column("TIER"), *(Column(name, right=True) for name in names)]
    columns += [Column(name, right=True) for name in ("TOKENS/S", "PAGED", "FAILED")]
    cells: list[list[Cell | str]] = [
        [
            row.policy,
            row.tier,
            *(time_text(getattr(row, field)) for _, field in _TIMES),
            f"{row.output_tokens_per_s:,.0f}",
            "-" if row.paged_bytes is None else format_bytes(row.paged_bytes),
            Cell(str(row.failed), RED if row.failed else ""),
        ]
        for row in rows
    ]
    write_table(columns, cells)


def _write_tenants(rows: list[Row]) -> None:
    titles = ("PROMPTS", "TTFT P50", "P99", "DONE MEAN", "TOKENS", "DEVICE")
    columns = [*map(Column, ("POLICY", "TIER", "TENANT")), *(Column(title, right=True) for title in titles)]
    write_table(
        columns,
        [
            [
                row.policy,
                row.tier,
                name,
                str(tenant.prompts),
                time_text(tenant.ttft_p50_s),
                time_text(tenant.ttft_p99_s),
                time_text(tenant.completion_mean_s),
                _share(tenant.token_share),
                _share(tenant.device_share),
            ]
            for row in rows
            for name, tenant in row.tenants.items()
        ],
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def time_text(time_s: float | None) -> str:
    """Three digits of it: 12.3 ms, 1.23 s."""
    if time_s is None:
        return "-"
    return f"{time_s * 1e3:.3g} ms" if time_s < 0.9995 else f"{time_s:.4g} s"

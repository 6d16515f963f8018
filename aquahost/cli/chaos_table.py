"""What a maltreated daemon has come to, as tables or as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aquahost.cli.burst_table import time_text
from aquahost.cli.output import GREEN, RED, Cell, Column, Form, one_line, write_data, write_line, write_table
from aquahost.units import format_bytes

if TYPE_CHECKING:
    from aquahost.bench.chaos.report import Report
    from aquahost.bench.chaos.soak import Grown


def write_report(report: Report, form: Form) -> None:
    """Print all of it."""
    from aquahost.bench.figures import this_place

    place = this_place()
    if form is not Form.TABLE:
        write_data({"place": place, "is_whole": report.is_whole, **msgspec.to_builtins(report)}, form)
        return
    write_table(
        [Column("DONE"), Column("COUNT", right=True)], [[name, f"{count:,}"] for name, count in report.counts.items()]
    )
    _write_times(report)
    _write_grown(getattr(report, "grown", []))
    write_line("")
    write_table(
        [Column("THERE MUST BE NO"), Column("FOUND", right=True)],
        [[check.name, Cell(str(check.found), RED if check.found else GREEN)] for check in report.checks],
    )
    for check in report.checks:
        for detail in check.details if check.found else ():
            write_line(f"{check.name}: {one_line(detail)}")
    write_line(f"\ntook {time_text(report.took_s)}; {place.machine}; {place.date}; commit {place.commit}")


def _write_times(report: Report) -> None:
    if not report.times:
        return
    write_line("")
    titles = ("COUNT", "P50", "P99", "MAX")
    write_table(
        [Column("TIME"), *(Column(title, right=True) for title in titles)],
        [
            [one.name, str(one.count), *(time_text(value) for value in (one.p50_s, one.p99_s, one.max_s))]
            for one in report.times
        ],
    )


def _write_grown(grown: list[Grown]) -> None:
    if not grown:
        return
    write_line("")
    titles = ("AT FIRST", "GROWTH", "SURELY")
    write_table(
        [Column("OVER THE RUN"), *(Column(title, right=True) for title in titles), Column("")],
        [[one.name, *_developed(one), "flat" if one.is_flat else Cell("GROWS", RED)] for one in grown],
    )


def _developed(one: Grown) -> list[str]:
    if one.trend is None:
        return ["-", "-", "-"]
    return [
        _value(one.trend.start, one.unit),
        _signed(one.trend.growth, one.unit),
        _signed(one.trend.least_growth, one.unit),
    ]


def _signed(value: float, unit: str) -> str:
    return ("-" if value < 0 else "+") + _value(abs(value), unit)


def _value(value: float, unit: str) -> str:
    if unit == "bytes":
        return format_bytes(round(value))
    return time_text(value) if unit == "s" else f"{value:.3g}"

"""A doctor's report for people."""

from __future__ import annotations

import sys
from collections import Counter

from aquahost.cli.doctor.findings import end_name, link_name
from aquahost.cli.doctor.report import HOST, Gpu, Hardware, Report, Severity
from aquahost.cli.output import (
    BOLD,
    GREEN,
    RED,
    YELLOW,
    Cell,
    Column,
    has_colour,
    one_line,
    painted,
    write_line,
    write_table,
)
from aquahost.messages.snapshot import LinkView
from aquahost.units import format_bytes


def write_report(report: Report) -> None:
    """Everything on one screen, the findings last."""
    write_table([Column("WHAT"), Column("STATE")], _overview(report))
    if report.hardware is not None:
        _write_hardware(report.hardware)
    _write_findings(report)


def _overview(report: Report) -> list[list[Cell | str]]:
    packages = [f"{name} {version or 'missing'}" for name, version in report.packages.items()]
    config = report.config
    state = f"{len(config.mistakes)} mistakes" if config.mistakes else f"ok, {config.models} models"
    rows: list[list[Cell | str]] = [
        ["aquahost", f"{report.version}, Python {report.python}"],
        ["driver", _driver(report)],
        ["daemon", _daemon(report)],
        ["models.yaml", Cell(f"{config.path}: {state}", RED if config.mistakes else "")],
    ]
    for place in report.places:
        trouble = f": {place.trouble}" if place.trouble else ""
        rows.append([f"{place.what} folder", Cell(f"{place.path}{trouble}", RED if trouble else "")])
    rows.append(["packages", ", ".join(packages)])
    return rows


def _driver(report: Report) -> Cell:
    hardware = report.hardware
    if hardware is None:
        return Cell(f"no answer: {one_line(report.hardware_trouble or '')}", RED)
    version = f" {_cuda_version(hardware.driver_version)}" if hardware.driver_version else ""
    seen = ", as the daemon found it at its start" if report.hardware_from == "daemon" else ""
    because = f"; no CUDA: {one_line(hardware.why_not_cuda)}" if hardware.why_not_cuda else ""
    return Cell(f"{hardware.driver}{version}{seen}{because}", YELLOW if hardware.driver == "emulated" else "")


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _daemon(report: Report) -> Cell:
    daemon = report.daemon
    if daemon.trouble:
        return Cell(f"pid {daemon.pid}: {one_line(daemon.trouble)}", RED)
    if not daemon.answers:
        return Cell(f"none answers at {daemon.socket}")
    return Cell(f"pid {daemon.pid}, version {daemon.version}, answers at {daemon.socket}")


def _write_hardware(hardware: Hardware) -> None:
    if hardware.gpus:
        write_line("")
        write_table(
            [Column("GPU", right=True), Column("NAME"), *_right("MEMORY", "NVLINKS"), Column("UUID")],
            [_gpu_row(gpu) for gpu in hardware.gpus],
        )
    if hardware.links:
        write_line("")
        _write_matrix(hardware)
    for hint in hardware.hints:
        write_line(f"hint: {one_line(hint)}")


def _gpu_row(gpu: Gpu) -> list[Cell | str]:
    return [
        Cell(str(gpu.index), RED if gpu.lost is not None else ""),
        one_line(gpu.name),
        format_bytes(gpu.total_bytes),
        "-" if gpu.nvlinks is None else str(gpu.nvlinks),
        one_line(gpu.uuid),
    ]


def _right(*titles: str) -> list[Column]:
    return [Column(title, right=True) for title in titles]


def _write_matrix(hardware: Hardware) -> None:
    """A row for each end that bytes come from, a column for each they go to; what the cells mean stands below."""
    links = {(link.source, link.target): link for link in hardware.links}
    ends = sorted({end for pair in links for end in pair} | {gpu.index for gpu in hardware.gpus}, key=_host_last)
    write_table(
        [Column("FROM \\ TO"), *_right(*map(end_name, ends))],
        [
            [end_name(source), *(_verdict(source, target, links.get((source, target))) for target in ends)]
            for source in ends
        ],
    )
    ways = Counter(one_line(link.reason) for link in hardware.links if link.usable and link.reason)
    if ways:
        write_line(f"usable: {', '.join(f'{way} ({count})' for way, count in ways.most_common())}")
    reasons: dict[str, list[str]] = {}
    for link in hardware.links:
        if not link.usable:
            reasons.setdefault(one_line(link.reason) or "no reason given", []).append(link_name(link))
    for reason, names in reasons.items():
        write_line(f"no: {reason}: {', '.join(names)}")


def _host_last(end: int) -> tuple[bool, int]:
    return end == HOST, end


def _verdict(source: int, target: int, link: LinkView | None) -> Cell:
    if source == target:
        return Cell("-")
    if link is None:
        return Cell("untested")
    if not link.usable:
        return Cell("no", RED)
    return Cell(f"{format_bytes(link.bytes_per_s)}/s" if link.bytes_per_s > 0 else "yes", GREEN)


def _write_findings(report: Report) -> None:
    colours = has_colour(sys.stdout)
    write_line("")
    for finding in report.findings:
        colour = RED if finding.severity is Severity.PROBLEM else YELLOW
        write_line(f"{painted(finding.severity, colour, colours)}: {one_line(finding.what)}")
        write_line(f"  {painted('do', BOLD, colours)}: {one_line(finding.advice)}")
    if not any(finding.severity is Severity.PROBLEM for finding in report.findings):
        write_line(painted("nothing keeps models from running or lending", GREEN, colours))

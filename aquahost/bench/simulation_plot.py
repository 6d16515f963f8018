"""A simulation as pictures: how long prompts waited, who lent how much, and what filled each GPU."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aquahost.bench.plots import (
    GREY,
    draw_waits,
    label_waits,
    new_figure,
    outside_legend,
    plain_axes,
    save,
    style_of,
)
from aquahost.simulator.occupancy import GpuMemory
from aquahost.simulator.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GB = 1e9
_MOST_PANELS = 32
_MOST_WORDS = 28
"""Characters of a GPU's models above its panel."""
_USES = (
    ("weights", "#4d4d4d", "weights"),
    ("kv", "#0072b2", "own KV"),
    ("work", "#e69f00", "activations"),
    ("lent", "#009e73", "lent to other GPUs"),
    ("free", "#eeeeee", "free"),
)
"""From below."""
_WIDTHS = {"peer": 3.4, "host": 2.2, "recompute": 1.2}
"""Of lines, by tier: where they lie upon each other all are seen."""
_BORROWED = "#9ecae1"


def write_plots(reports: Sequence[Report], title: str, prefix: str) -> list[Path]:
    """Write PREFIX-ttft.png, PREFIX-leases.png and PREFIX-memory.png, of several runs a PREFIX-memory-….png each; their
    paths. Raises OSError where that cannot be."""
    paths = [
        save(_ttft(reports, title), Path(f"{prefix}-ttft.png")),
        save(_leases(reports, title), Path(f"{prefix}-leases.png")),
    ]
    for report in reports:
        run = "" if len(reports) == 1 else re.sub(r"\W+", "-", f"-{report.policy}-{report.tier}")
        paths.append(save(_memory(report, title), Path(f"{prefix}-memory{run}.png")))
    return paths


def _ttft(reports: Sequence[Report], title: str) -> Figure:
    """For each run, the share of prompts whose first token, or first step of an image or sound, had come by a time."""
    figure = new_figure((9.0, 4.8))
    axes = plain_axes(figure.add_subplot(), f"Time to first token: {title}")
    for report in reports:
        style = style_of(report.policy, report.tier)
        draw_waits(axes, report.ttft_s, style | {"linewidth": _WIDTHS[report.tier], "zorder": 3 - _WIDTHS[report.tier]})
    label_waits(axes)
    outside_legend(figure, axes)
    return figure


def _leases(reports: Sequence[Report], title: str) -> Figure:
    """For each run in which anything was lent, how much each GPU lent over time."""
    lending = [report for report in reports if _lent(report)] or list(reports[:1])
    figure = new_figure((9.0, 1.4 + 3.4 * len(lending)))
    every = list(figure.subplots(len(lending), sharex=True, sharey=True, squeeze=False)[:, 0])
    donors = range(len(reports[0].gpus))
    colours = _gpu_colours(len(donors))
    for axes, report in zip(every, lending, strict=True):
        plain_axes(axes, f"{report.policy}, {report.tier}", size=10)
        at_s, looks = _looks(report)
        lent = [[look[gpu].lent / _GB for look in looks] for gpu in donors]
        shown = [gpu for gpu in donors if any(lent[gpu])]
        if shown:
            labels = [f"GPU {gpu}" for gpu in shown]
            stack = [lent[gpu] for gpu in shown]
            axes.stackplot(at_s, stack, colors=[colours[gpu] for gpu in shown], labels=labels, linewidth=0)
        else:
            axes.text(0.5, 0.5, "nothing was lent", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_ylabel("lent (GB)")
        axes.set_ylim(bottom=0)
    every[-1].set_xlabel("virtual time (s)")
    every[-1].set_xlim(0, max(report.took_s for report in lending))
    figure.suptitle(f"Memory lent, by donor: {title}", x=0.01, ha="left", fontsize=11)
    _legend_of_all(figure, every)
    return figure


def _memory(report: Report, title: str) -> Figure:
    """What filled each GPU over time, and above its own memory what its models had borrowed."""
    gpus = report.gpus[:_MOST_PANELS]
    columns = min(4, len(gpus))
    rows = -(-len(gpus) // columns)
    figure = new_figure((0.8 + 3.0 * columns, 1.3 + 2.1 * rows))
    every = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    at_s, looks = _looks(report)
    for axes, gpu in zip(every, gpus, strict=False):
        models = ", ".join(gpu.models) or "no model"
        models = models if len(models) <= _MOST_WORDS else f"{models[: _MOST_WORDS - 1]}…"
        plain_axes(axes, f"GPU {gpu.gpu} · {models} · {gpu.utilisation:.0%} busy", size=9)
        mine = [look[gpu.gpu] for look in looks]
        stack = [[getattr(one, use) / _GB for one in mine] for use, _, _ in _USES]
        labels, colours = [label for _, _, label in _USES], [colour for _, colour, _ in _USES]
        axes.stackplot(at_s, stack, colors=colours, labels=labels, linewidth=0)
        total = gpu.total_bytes / _GB
        top = [total + one.borrowed / _GB for one in mine]
        axes.fill_between(at_s, total, top, color=_BORROWED, linewidth=0, label="borrowed of other GPUs")
        axes.axhline(total, color=GREY, linewidth=0.8)
        axes.set_xlabel("virtual time (s)", fontsize=9)
        axes.label_outer()
    for axes in every[len(gpus) :]:
        axes.set_visible(False)
    every[0].set_xlim(0, report.took_s)
    every[0].set_ylim(bottom=0)
    of_all = "" if len(gpus) == len(report.gpus) else f", the first {len(gpus)} of {len(report.gpus)} GPUs"
    heading = f"Memory of each GPU, {report.policy}, {report.tier}: {title}{of_all}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.supylabel("GB", fontsize=9)
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _legend_of_all(figure: Figure, every: Sequence[Axes]) -> None:
    """Each name once, whatever panel it comes from; as in the stack, the uppermost first."""
    found = {label: handle for axes in every for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if found:
        names = sorted(found, key=lambda name: int(name.split()[-1]), reverse=True)
        figure.legend([found[name] for name in names], names, loc="outside right upper", frameon=False, fontsize=9)


def _lent(report: Report) -> bool:
    return any(gpu.lent for look in report.occupancy.gpus for gpu in look)


def _looks(report: Report) -> tuple[list[float], list[list[GpuMemory]]]:
    """Up to the last reply: what follows is only waited for."""
    occupancy = report.occupancy
    count = sum(at_s <= report.took_s for at_s in occupancy.at_s)
    return occupancy.at_s[:count], occupancy.gpus[:count]


def _gpu_colours(count: int) -> list[tuple[float, float, float, float]]:
    """A colour for each GPU."""
    import matplotlib

    if count <= 10:
        return [matplotlib.colormaps["tab10"](gpu) for gpu in range(count)]
    return [matplotlib.colormaps["turbo"](gpu / (count - 1)) for gpu in range(count)]

"""A burst as two pictures: how long prompts waited for their first token, and how tokens came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.bench.burst import Burst, Measured
from aquahost.errors import StartError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"recompute": "#d55e00", "host": "#009e73", "peer": "#0072b2", "-": "#0072b2"}
"""By tier; told apart by colour-blind people too."""
_DASHES = {"fair": "-", "fcfs": (0, (4, 2)), "priority": (0, (1, 1.2)), "-": "-"}
"""By policy."""
_SIZE_IN = (9.0, 4.8)
_DPI = 150
_GREY = "#555555"


def check_matplotlib() -> None:
    """Raise StartError where there is no matplotlib: before anything is measured, not after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise StartError("--png needs matplotlib; install it with: pip install 'aquahost[bench]'") from error


def write_plots(burst: Burst, title: str, prefix: str) -> list[Path]:
    """Write PREFIX-ttft.png and PREFIX-tokens.png; their paths. Raises OSError where that cannot be."""
    paths = [Path(f"{prefix}-ttft.png"), Path(f"{prefix}-tokens.png")]
    _save(_ttft(burst, title), paths[0])
    _save(_tokens(burst, title), paths[1])
    return paths


def _ttft(burst: Burst, title: str) -> Figure:
    """For each row, the share of prompts whose first token had come after a time."""
    figure, axes = _axes(f"Time to first token: {title}")
    for one in burst.measured:
        times_s = sorted(reply.ttft_s for reply in one.replies if not reply.failure)
        if times_s:
            shares = [100 * (number + 1) / len(times_s) for number in range(len(times_s))]
            axes.step([times_s[0], *times_s], [0, *shares], where="post", **_style(one))
    if burst.prefill_floor_s is not None:
        label = f"all prefilled back\nto back: {burst.prefill_floor_s:.2g} s"
        axes.axvline(burst.prefill_floor_s, color=_GREY, linewidth=1, linestyle=":", label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_plain)
    axes.set_xlabel("time to first token (s, logarithmic)")
    axes.set_ylabel("prompts (%)")
    axes.set_ylim(0, 101)
    _legend(figure, axes)
    return figure


def _tokens(burst: Burst, title: str) -> Figure:
    """For each row, how many output tokens had come by a time."""
    figure, axes = _axes(f"Output tokens over time: {title}")
    for one in burst.measured:
        times_s, tokens = _cumulative(one)
        axes.plot(times_s, tokens, **_style(one))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda tokens, _: f"{tokens:,.0f}")
    axes.set_xlabel("time since the trace began (s)")
    axes.set_ylabel("output tokens so far")
    _legend(figure, axes)
    return figure


def _cumulative(one: Measured) -> tuple[list[float], list[float]]:
    """When tokens came, and how many had come by then, were a reply's chunks all worth the same."""
    events = sorted(
        (chunk_s, reply.output_tokens / len(reply.chunk_s)) for reply in one.replies for chunk_s in reply.chunk_s
    )
    so_far, times_s, tokens = 0.0, [0.0], [0.0]
    for chunk_s, worth in events:
        so_far += worth
        times_s.append(chunk_s)
        tokens.append(so_far)
    return times_s, tokens


def _axes(title: str) -> tuple[Figure, Axes]:
    # Not pyplot, which keeps figures of its own and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _style(one: Measured) -> dict[str, Any]:
    policy, tier = one.row.policy, one.row.tier
    label = "measured server" if policy == "-" else f"{policy}, {tier}"
    return {"color": _COLOURS[tier], "linestyle": _DASHES[policy], "linewidth": 1.8, "label": label}


def _legend(figure: Figure, axes: Axes) -> None:
    """Beside the picture: six lines leave no room within."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)


def _plain(value: float, _: object) -> str:
    return f"{value:g}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)

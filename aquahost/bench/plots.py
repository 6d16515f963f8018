"""What all our pictures have in common: axes, colours, legends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquahost.errors import StartError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"recompute": "#d55e00", "host": "#009e73", "peer": "#0072b2", "-": "#0072b2"}
"""By tier; told apart by colour-blind people too."""
_DASHES = {"fair": "-", "fcfs": (0, (4, 2)), "priority": (0, (1, 1.2)), "-": "-"}
"""By policy."""
_DPI = 150
GREY = "#555555"


def check_matplotlib() -> None:
    """Raise StartError where there is no matplotlib: before anything is measured, not after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise StartError("--png needs matplotlib; install it with: pip install 'aquahost[bench]'") from error


def new_figure(size_in: tuple[float, float]) -> Figure:
    """An empty picture."""
    # Not pyplot, which keeps figures of its own and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, title: str, *, size: float = 11) -> Axes:
    """A frame that keeps out of the way, with its title at the left."""
    axes.set_title(title, loc="left", fontsize=size)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def draw_waits(axes: Axes, times_s: Sequence[float], style: dict[str, Any]) -> None:
    """The share of prompts whose first token had come after a time; `times_s` ascending."""
    if len(times_s):
        shares = [100 * (number + 1) / len(times_s) for number in range(len(times_s))]
        axes.step([times_s[0], *times_s], [0, *shares], where="post", **style)


def label_waits(axes: Axes) -> None:
    """Say what `draw_waits` has drawn."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(plain_number)
    axes.set_xlabel("time to first token (s, logarithmic)")
    axes.set_ylabel("prompts (%)")
    axes.set_ylim(0, 101)


def style_of(policy: str, tier: str) -> dict[str, Any]:
    """How a line of this policy and tier looks, whatever the picture."""
    label = "measured server" if policy == "-" else f"{policy}, {tier}"
    colour, dashes = _COLOURS.get(tier, GREY), _DASHES.get(policy, (0, (6, 1.5, 1, 1.5)))
    return {"color": colour, "linestyle": dashes, "linewidth": 1.8, "label": label}


def outside_legend(figure: Figure, axes: Axes) -> None:
    """Beside the picture: six lines leave no room within."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)


def plain_number(value: float, _: object) -> str:
    """0.1 and 10, not powers."""
    return f"{value:g}"


def save(figure: Figure, path: Path) -> Path:
    """Write it; raises OSError where that cannot be."""
    figure.savefig(path)
    return path

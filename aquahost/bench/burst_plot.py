"""A burst as two pictures: how long prompts waited for their first token, and how tokens came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aquahost.bench.burst import Burst, Measured
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE_IN = (9.0, 4.8)


def write_plots(burst: Burst, title: str, prefix: str) -> list[Path]:
    """Write PREFIX-ttft.png and PREFIX-tokens.png; their paths. Raises OSError where that cannot be."""
    return [
        save(_ttft(burst, title), Path(f"{prefix}-ttft.png")),
        save(_tokens(burst, title), Path(f"{prefix}-tokens.png")),
    ]


def _ttft(burst: Burst, title: str) -> Figure:
    """For each row, the share of prompts whose first token had come after a time."""
    figure = new_figure(_SIZE_IN)
    axes = plain_axes(figure.add_subplot(), f"Time to first token: {title}")
    for one in burst.measured:
        times_s = sorted(reply.ttft_s for reply in one.replies if not reply.failure)
        draw_waits(axes, times_s, style_of(one.row.policy, one.row.tier))
    if burst.prefill_floor_s is not None:
        label = f"all prefilled back\nto back: {burst.prefill_floor_s:.2g} s"
        axes.axvline(burst.prefill_floor_s, color=GREY, linewidth=1, linestyle=":", label=label)
    label_waits(axes)
    outside_legend(figure, axes)
    return figure


def _tokens(burst: Burst, title: str) -> Figure:
    """For each row, how many output tokens had come by a time."""
    figure = new_figure(_SIZE_IN)
    axes = plain_axes(figure.add_subplot(), f"Output tokens over time: {title}")
    for one in burst.measured:
        times_s, tokens = _cumulative(one)
        axes.plot(times_s, tokens, **style_of(one.row.policy, one.row.tier))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda tokens, _: f"{tokens:,.0f}")
    axes.set_xlabel("time since the trace began (s)")
    axes.set_ylabel("output tokens so far")
    outside_legend(figure, axes)
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

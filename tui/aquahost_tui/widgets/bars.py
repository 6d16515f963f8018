"""Bars and sparklines as text: glyphs differ, so that they are read without colours too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.messages.snapshot import GpuView

_SPARKS = " ▁▂▃▄▅▆▇█"
_PLAIN_SPARKS = " .:-=+*#@"
LEAST_RATE = 1e6
"""Traffic is drawn against the largest of its points, and at least against this."""


@dataclass(frozen=True, slots=True)
class Part:
    """One use of a GPU's memory."""

    name: str
    glyph: str
    colour: str
    """A variable of the theme."""


WEIGHTS = Part("weights", "█", "$primary")
KV = Part("own KV", "▓", "$success")
WORK = Part("activations", "▆", "$secondary")
LENT = Part("lent out", "▒", "$warning")
OTHER = Part("other processes", "╳", "$error")
FREE = Part("free", "·", "$foreground-disabled")
BORROWED = Part("borrowed in", "░", "$accent")
PARTS = (WEIGHTS, KV, WORK, LENT, OTHER, FREE, BORROWED)


def memory_parts(gpu: GpuView) -> list[tuple[Part, int]]:
    """How a GPU's own memory is used, in bytes; together its total."""
    return [
        (WEIGHTS, gpu.weights_bytes),
        (KV, gpu.kv_bytes),
        (WORK, gpu.work_bytes),
        (LENT, gpu.lent_bytes),
        (OTHER, gpu.other_bytes),
        (FREE, gpu.free_bytes),
    ]


def divide(sizes: Sequence[int], cells: int) -> list[int]:
    """Cells for each size, `cells` in all: by largest remainders, but what is not 0 gets a cell if there are enough."""
    total = sum(sizes)
    if not total or cells <= 0:
        return [0] * len(sizes)
    shares = [size * cells / total for size in sizes]
    counts = [max(int(share), 1 if size else 0) for share, size in zip(shares, sizes, strict=True)]
    while sum(counts) < cells:
        counts[max(range(len(sizes)), key=lambda at: shares[at] - counts[at])] += 1
    while sum(counts) > cells:
        # Take from whoever has most beyond its share, of those that keep a cell; if none does, from the smallest.
        able = [at for at, count in enumerate(counts) if count > 1]
        if able:
            counts[max(able, key=lambda at: counts[at] - shares[at])] -= 1
        else:
            counts[min((at for at, count in enumerate(counts) if count), key=lambda at: shares[at])] -= 1
    return counts


def sparkline(points: Sequence[float], width: int, most: float, *, plain: bool = False) -> str:
    """The last `width` points as columns up to `most`, padded on the left; what is above 0 is at least a sliver."""
    glyphs = _PLAIN_SPARKS if plain else _SPARKS
    top = len(glyphs) - 1
    shown = list(points)[-width:] if width > 0 else []
    heights = [0 if point <= 0 or most <= 0 else min(top, max(1, round(point / most * top))) for point in shown]
    return "".join(glyphs[height] for height in heights).rjust(max(width, 0))

"""Pictures as characters: each is a half block that shows two pixels, one above the other. Pure but for Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Pixel = tuple[int, int, int]
"""Red, green and blue, from 0 to 255."""

_UPPER_HALF = "▀"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image scaled to some cells of the terminal."""

    width_px: int
    height_px: int
    """As the image came."""
    lines: list[Strip]


def fitting(width_px: int, height_px: int, columns: int, lines: int) -> tuple[int, int]:
    """The pixels to scale an image to, so that it fits; each cell is one pixel wide and two high. What is small grows
    by whole factors only, so that its pixels stay square."""
    scale = min(columns / width_px, 2 * lines / height_px)
    if scale >= 1:
        return width_px * int(scale), height_px * int(scale)
    return max(round(width_px * scale), 1), max(round(height_px * scale), 1)


def read_picture(data: bytes, columns: int, lines: int) -> Picture:
    """The image in a file's bytes, in at most so many cells. Raises ValueError that says why there is none."""
    from PIL import Image  # slow to import, and few look at images

    try:
        with Image.open(io.BytesIO(data)) as image:
            size = fitting(image.width, image.height, max(columns, 1), max(lines, 1))
            way = Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.LANCZOS
            scaled = image.convert("RGB").resize(size, way)
            raw = scaled.tobytes()
            return Picture(width_px=image.width, height_px=image.height, lines=strips_of(_rows(raw, size[0])))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture cannot be shown: {error}") from error


def strips_of(rows: Sequence[Sequence[Pixel]]) -> list[Strip]:
    """Two rows of pixels in each line; under a last odd row the terminal's own colour stays."""
    lines = []
    for at in range(0, len(rows), 2):
        upper = rows[at]
        lower: Sequence[Pixel | None] = rows[at + 1] if at + 1 < len(rows) else [None] * len(upper)
        lines.append(Strip(_segments(upper, lower), len(upper)))
    return lines


def _segments(upper: Sequence[Pixel], lower: Sequence[Pixel | None]) -> list[Segment]:
    segments = []
    for (above, below), run in groupby(zip(upper, lower, strict=True)):
        style = Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below) if below is not None else None)
        segments.append(Segment(_UPPER_HALF * len(list(run)), style))
    return segments


def _rows(raw: bytes, width: int) -> list[list[Pixel]]:
    pixels = list(zip(raw[0::3], raw[1::3], raw[2::3], strict=True))
    return [pixels[at : at + width] for at in range(0, len(pixels), width)]

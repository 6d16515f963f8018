"""Whether a picture shows the scene that was asked for: masks of colours, and moments of shapes; NumPy alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from demo_training.paint_data import BACKGROUND, COLOURS, SIZE_PX, Pixels, Scene, Thing

LEAST_PX = 60
"""What is smaller is no thing but a blot."""
_FAR = 0.35
"""Most distance from a colour, as a share of the way from black to white."""
_MOMENTS = {"circle": 1 / (2 * math.pi), "square": 1 / 6, "triangle": 1 / (3 * math.sqrt(3))}
"""Of each shape: the sum of its second central moments by the square of its area, whatever its size."""
_FILLS = {"circle": math.pi / 4, "square": 1.0, "triangle": 0.5}
"""Of each shape: its area as a share of its bounding box."""

Mask = npt.NDArray[np.bool_]


def shows(image: Pixels, scene: Scene) -> bool:
    """Whether there are the things of the scene in their colours, placed as it says, and nothing else."""
    found = things(image)
    wanted = [scene.first] if scene.second is None else [scene.first, scene.second]
    if sorted(str(thing) for thing, _, _ in found) != sorted(str(thing) for thing in wanted):
        return False
    if scene.second is None:
        return True
    at = {str(thing): (x, y) for thing, x, y in found}
    return _relation(at[str(scene.first)], at[str(scene.second)]) == scene.relation


def things(image: Pixels) -> list[tuple[Thing, float, float]]:
    """Every thing in the picture, and where its middle is (from left, from top)."""
    names = list(COLOURS)
    palette = np.array([BACKGROUND, *COLOURS.values()], dtype=np.float32) / 255
    distance = np.sqrt(((image[:, :, None, :] - palette) ** 2).sum(axis=-1) / 3)
    nearest = np.where(distance.min(axis=-1) <= _FAR, distance.argmin(axis=-1), 0)
    found = []
    for number, colour in enumerate(names, start=1):
        for part in _parts(nearest == number):
            down, across = np.nonzero(part)
            found.append((Thing(colour, _shape(across, down)), float(across.mean()), float(down.mean())))
    return found


def _parts(mask: Mask) -> list[Mask]:
    """The connected parts of a mask that are large enough to be things; edges in a mixture of colours are not."""
    left, parts = mask.copy(), []
    while left.any():
        part = np.zeros_like(mask)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = part.copy()
            grown[1:] |= part[:-1]
            grown[:-1] |= part[1:]
            grown[:, 1:] |= part[:, :-1]
            grown[:, :-1] |= part[:, 1:]
            grown &= mask
            if (grown == part).all():
                break
            part = grown
        left &= ~part
        if part.sum() >= LEAST_PX * (SIZE_PX / 64) ** 2:
            parts.append(part)
    return parts


def _shape(across: npt.NDArray[np.intp], down: npt.NDArray[np.intp]) -> str:
    area = len(across)
    moment = (across.var() + down.var()) / area
    fill = area / ((np.ptp(across) + 1) * (np.ptp(down) + 1))

    def unlike(shape: str) -> float:
        return float(abs(moment / _MOMENTS[shape] - 1) + abs(fill - _FILLS[shape]))

    return min(_MOMENTS, key=unlike)


def _relation(one: tuple[float, float], other: tuple[float, float]) -> str:
    across, down = one[0] - other[0], one[1] - other[1]
    if abs(down) > abs(across):
        return "above" if down < 0 else "below"
    return "to the left of" if across < 0 else "to the right of"

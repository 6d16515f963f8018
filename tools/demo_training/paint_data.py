"""What the image demo learns from: scenes of one shape or two, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

SIZE_PX = 64
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 205, 40),
    "purple": (150, 50, 180),
}
BACKGROUND = (250, 250, 250)
SHAPES = ("circle", "square", "triangle")
RELATIONS = ("above", "below", "to the left of", "to the right of")
_FINE = 4
"""Points in each direction of a pixel, for smooth edges."""

Pixels = npt.NDArray[np.float32]
"""Height, width, colour; 0 to 1."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape in a colour."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing, or two and how the first lies to the second."""

    first: Thing
    relation: str | None = None
    second: Thing | None = None

    @property
    def prompt(self) -> str:
        """The words for it."""
        words = f"a {self.first}"
        return words if self.second is None else f"{words} {self.relation} a {self.second}"


def scenes(seed: int, *, held_out: bool = False) -> Iterator[Scene]:
    """Without end, the same for a seed. One in ten of the scenes of two is in none unless `held_out`, and then there is
    nothing else."""
    chance = Random(seed)
    while True:
        scene = _scene(chance)
        if (scene.second is not None and Random(scene.prompt).random() < 0.1) is held_out:
            yield scene


def draw(scene: Scene, chance: Random) -> Pixels:
    """A picture of it, with its things somewhere where they fit."""
    image = np.empty((SIZE_PX, SIZE_PX, 3), dtype=np.float32)
    image[:] = np.array(BACKGROUND) / 255
    if scene.second is None or scene.relation is None:
        radius = chance.uniform(11, 17)
        x, y = (SIZE_PX / 2 + chance.uniform(-7, 7) for _ in range(2))
        _paint(image, scene.first, x, y, radius)
        return image
    radii = chance.uniform(9.5, 13), chance.uniform(9.5, 13)
    apart = sum(radii) / 2 + chance.uniform(2, 4)
    middle, aside = SIZE_PX / 2 + chance.uniform(-2, 2), [SIZE_PX / 2 + chance.uniform(-5, 5) for _ in radii]
    sign = -1 if scene.relation in ("above", "to the left of") else 1
    ahead = middle + sign * apart * 2 * radii[0] / sum(radii), middle - sign * apart * 2 * radii[1] / sum(radii)
    for thing, along, across, radius in zip((scene.first, scene.second), ahead, aside, radii, strict=True):
        upright = scene.relation in ("above", "below")
        x, y = (across, along) if upright else (along, across)
        _paint(image, thing, x, y, radius)
    return image


def _scene(chance: Random) -> Scene:
    first = Thing(chance.choice(list(COLOURS)), chance.choice(SHAPES))
    if chance.random() < 0.15:
        return Scene(first)
    while (second := Thing(chance.choice(list(COLOURS)), chance.choice(SHAPES))).colour == first.colour:
        pass
    return Scene(first, chance.choice(RELATIONS), second)


def _paint(image: Pixels, thing: Thing, x: float, y: float, radius: float) -> None:
    fine = (np.arange(SIZE_PX * _FINE) + 0.5) / _FINE
    across, down = fine[None, :] - x, fine[:, None] - y
    if thing.shape == "circle":
        inside = across**2 + down**2 <= radius**2
    elif thing.shape == "square":
        half = radius * 0.9
        inside = (np.abs(across) <= half) & (np.abs(down) <= half)
    else:
        # Equilateral, its middle at (x, y).
        side = radius * 2.1
        height = side * math.sqrt(3) / 2
        below_top = down + height * 2 / 3
        inside = (below_top >= 0) & (below_top <= height) & (np.abs(across) <= below_top / height * side / 2)
    cover = inside.reshape(SIZE_PX, _FINE, SIZE_PX, _FINE).mean(axis=(1, 3))[..., None].astype(np.float32)
    image *= 1 - cover
    image += cover * (np.array(COLOURS[thing.colour], dtype=np.float32) / 255)

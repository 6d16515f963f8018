"""How every screen looks, as SVG; after a wanted change: pytest tests/screen/test_snapshots.py --snapshot-update."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from aquahost_tui.places import PLACES
from tui_host import StillFeed, made_app, settle

SIZES = [(80, 24), (120, 40), (200, 60)]
THEMES = ["aquahost-dark", "aquahost-light"]
Compare = Callable[..., bool]


def gone_to(*keys: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Fill the app and press keys."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)
        pilot.app.screen.set_focus(pilot.app.focused)
        await pilot.pause(0.1)

    return run


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_place(snap_compare: Compare, place: Any, size: tuple[int, int], theme: str) -> None:
    app = made_app(StillFeed(), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=gone_to(place.key))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [("question_mark",), ("2", "u"), ("l",)], ids=["help", "confirm", "picker"])
def test_above_a_place(snap_compare: Compare, keys: tuple[str, ...], size: tuple[int, int], theme: str) -> None:
    app = made_app(StillFeed(), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=gone_to(*keys))

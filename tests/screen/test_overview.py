"""The overview, driven by keys and mouse over a made-up host."""

from __future__ import annotations

import pytest

from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import FeedBroke
from aquahost_tui.widgets.gpu_card import GpuCard
from aquahost_tui.widgets.queue_table import QueueTable
from aquahost_tui.widgets.status_bar import StatusBar
from tui_host import StillFeed, made_app, settle


def text_of(app: AquahostApp) -> str:
    """All that is on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
    )


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (240, 70)])
async def test_the_most_important_is_shown_at_any_size(size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = text_of(app)
        assert len(app.query(GpuCard)) == 0  # they belong to the overview's own screen
        assert len(app.screen.query(GpuCard)) == 8
        for words in ("EMULATED", "chat", "28 run 68 paged", "paged to GPU 4", "lease.recalled", "36G/80G"):
            assert words in text, words

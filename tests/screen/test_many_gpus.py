"""Hosts of fewer or more GPUs than eight: nothing falls off without a word, and tables keep their rows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from textual.containers import VerticalScroll
from textual.pilot import Pilot

from aquahost_tui.app import AquahostApp
from aquahost_tui.widgets.event_list import EventList
from aquahost_tui.widgets.gpu_card import GpuCard
from aquahost_tui.widgets.lease_map import LeaseMap
from aquahost_tui.widgets.lease_table import LeaseTable
from aquahost_tui.widgets.queue_table import QueueTable
from made_host import events, snapshot
from many_gpus import with_gpus
from tui_host import made_app, text_of

COUNTS = [1, 2, 8, 9, 16, 32]
SIZES = [(64, 16), (80, 24), (120, 24), (80, 40), (120, 40), (200, 60)]


async def fill(pilot: Pilot[Any], app: AquahostApp, gpus: int, *, all_lend: bool = False, key: str = "1") -> str:
    await pilot.pause()
    for tick in (26, 27):
        app.store.take(with_gpus(snapshot(tick), gpus, all_lend=all_lend), tick * 0.5)
    for event in events(27):
        app.store.note(event)
    await pilot.press(key)
    for _ in range(3):
        app.draw()
        await pilot.pause()
    return text_of(app)


def lines_of(widget: Any) -> int:
    """How many of its lines can be seen."""
    return int(widget.screen.find_widget(widget).visible_region.height)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpus", COUNTS)
async def test_the_overview_keeps_room_for_all_its_parts(gpus: int, size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        text = await fill(pilot, app, gpus)
        assert len(app.screen.query(GpuCard)) == gpus
        assert lines_of(app.screen.query_one(QueueTable)) >= 3
        assert lines_of(app.screen.query_one(EventList)) >= 2
        scroll = app.screen.query_one("#gpus-scroll", VerticalScroll)
        assert (scroll.max_scroll_y > 0) is ("out of view" in text) is scroll.can_focus
        if scroll.can_focus:
            await pilot.press("shift+tab", "end")
            await pilot.pause(0.5)
            assert lines_of(list(app.screen.query(GpuCard))[-1]) == 1
        if size[0] >= 116:  # else the map has no room here
            lease_map = app.screen.query_one(LeaseMap)
            assert lines_of(lease_map) == len(lease_map.render().plain.splitlines())


@pytest.mark.parametrize("all_lend", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpus", COUNTS)
async def test_the_leases_screen_keeps_rows_and_tells_what_its_map_leaves_out(
    gpus: int, size: tuple[int, int], all_lend: bool
) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await fill(pilot, app, gpus, all_lend=all_lend, key="3")
        assert lines_of(app.screen.query_one(LeaseTable)) >= (3 if size[1] > 16 else 2)
        lease_map = app.screen.query_one(LeaseMap)
        lines = lease_map.render().plain.splitlines()
        assert lines_of(lease_map) == len(lines)
        assert max(map(len, lines)) <= lease_map.size.width
        if "borrow" not in lines[-1] and "lend" not in lines[-1]:
            assert lines[0].split()[1:] == [f"→{gpu}" for gpu in range(gpus)]
        elif all_lend:
            assert "more lend" in lines[-1] or "more borrow" in lines[-1]
        else:
            assert f"of {gpus} GPUs neither lend nor borrow" in lines[-1]
            assert f"{gpus - 1:>2}  " in [line[:4] for line in lines] or gpus <= 8


async def test_a_map_of_many_gpus_that_lend_nothing_says_so() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.store.take(replace(with_gpus(snapshot(0), 32), leases=[]), 0.0)
        await pilot.press("3")
        app.draw()
        await pilot.pause()
        assert app.screen.query_one(LeaseMap).render().plain == "32 of 32 GPUs neither lend nor borrow"
        assert lines_of(app.screen.query_one(LeaseMap)) == 1

"""The screen of leases over a made-up host."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from aquahost.messages.snapshot import LeaseState, Snapshot
from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import SnapshotCame
from aquahost_tui.widgets.lease_table import LeaseTable
from made_host import TICK_S, snapshot
from tui_host import StillFeed, made_app, settle, text_of


async def show_leases(pilot: Pilot[Any], app: AquahostApp, last: Snapshot | None = None, tick: int = 28) -> str:
    """Go to the leases after the made-up host's story, and after `last` if given."""
    await settle(pilot, StillFeed(tick - 1))
    if last is not None:
        app.on_snapshot_came(SnapshotCame(last, tick * TICK_S))
    await pilot.press("3")
    await pilot.pause()
    return text_of(app)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_sums_map_and_leases_are_shown(size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        text = await show_leases(pilot, app)
        for words in (
            "18.5 GiB lent",
            "512M of it wanted back",
            "chat 16G",
            "GPU 2 paint",
            "recalling",
            "due in 0.8 s",
        ):
            assert words in text, words
        if size[0] >= 120:
            assert "9.0G 3.6G/s" in text
        # The one that is due stands above all others.
        rows = app.screen.query_one(LeaseTable).rows
        assert [row.record.view.id for row in rows] == [1, 2, 3, 4]


async def test_a_lease_that_ended_stays_as_history() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        text = await show_leases(pilot, app, tick=41)
        rows = app.screen.query_one(LeaseTable).rows
        assert [(row.record.view.id, row.state) for row in rows][-1] == (1, "recalled")
        assert "5.0s ago" in text
        assert "1 ended lately" in text
        await pilot.press("slash", *"ended", "enter")
        assert [row.record.view.id for row in app.screen.query_one(LeaseTable).rows] == [1]


async def test_a_late_lease_stands_out() -> None:
    app = made_app()
    now = snapshot(28)
    late = msgspec.structs.replace(
        now, leases=[msgspec.structs.replace(now.leases[0], state=LeaseState.RECALLING, deadline_in_s=-0.2)]
    )
    async with app.run_test(size=(120, 40)) as pilot:
        text = await show_leases(pilot, app, late)
        assert "LATE 0.2 s" in text
        assert "1 LATE" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leasing": False}, "leasing.enabled is false"),
        ({"lending_trouble": "cuMemcpyPeer failed"}, "could not be tested: cuMemcpyPeer failed"),
        ({"links": []}, "aquahost doctor says why"),
        ({"gpus": snapshot(0).gpus[:1]}, "there is no second GPU"),
        ({}, "no model needs more memory"),
    ],
)
async def test_why_nothing_is_lent_is_told(changes: dict[str, Any], words: str) -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        nothing = msgspec.structs.replace(snapshot(0), **changes)
        text = await show_leases(pilot, app, nothing, tick=2)
        assert "nothing is lent" in text
        assert words in text


async def test_enter_offers_nothing_that_is_not_there() -> None:
    app = made_app()
    async with app.run_test(size=(120, 40)) as pilot:
        text = await show_leases(pilot, app)
        assert "Details" not in text
        await pilot.press("enter", "j", "o")
        table = app.screen.query_one(LeaseTable)
        assert table.row is not None
        assert table.row.record.view.id == 2
        assert table.sorted_by == ("DUE/ENDED", True)

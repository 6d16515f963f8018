"""The screen of tenants over a made-up host."""

from __future__ import annotations

import msgspec
import pytest

from aquahost_tui.messages import SnapshotCame
from aquahost_tui.store.tenant_shares import Share
from aquahost_tui.widgets.cells import Tone
from aquahost_tui.widgets.share_bars import verdict
from aquahost_tui.widgets.tenant_table import TenantTable, share_tone
from made_host import TICK_S, snapshot
from tui_host import made_app, settle, text_of


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_bars_and_table_tell_who_had_what(size: tuple[int, int]) -> None:
    app = made_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await pilot.press("5")
        await pilot.pause()
        text = text_of(app)
        for words in ("by weight", "gold 76%", "last 30 s", "gold 70%", "web 30%", "DESERVES", "TOK/S"):
            assert words in text, words
        assert "gold had 70%, where its weight gives it 76%" in text


async def test_more_tenants_than_there_is_room_for_are_put_together() -> None:
    app = made_app()
    many = [
        msgspec.structs.replace(snapshot(4).tenants[1], name=f"tenant-{number}", weight=1.0, service_s=float(number))
        for number in range(200)
    ]
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.on_snapshot_came(SnapshotCame(msgspec.structs.replace(snapshot(28), tenants=many), 28 * TICK_S))
        await pilot.press("5")
        await pilot.pause()
        assert "others" in text_of(app)
        assert len(app.screen.query_one(TenantTable).rows) == 200
        await pilot.press("slash", *"-17")
        assert len(app.screen.query_one(TenantTable).rows) == 11


async def test_no_tenants_are_said_in_words() -> None:
    app = made_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.on_snapshot_came(SnapshotCame(msgspec.structs.replace(snapshot(28), tenants=[]), 28 * TICK_S))
        await pilot.press("5")
        await pilot.pause()
        assert "no tenants so far" in text_of(app)
        assert "no device time was used" in text_of(app)


def test_who_had_far_too_little_stands_out() -> None:
    assert share_tone(Share(0.5, 0.5, 0.5)) is Tone.GOOD
    assert share_tone(Share(0.5, 0.6, 0.5)) is Tone.WARN
    assert share_tone(Share(0.5, 0.4, 0.5)) is Tone.WARN
    assert share_tone(Share(0.5, 0.2, 0.5)) is Tone.BAD


def test_fair_shares_are_called_fair() -> None:
    shares = {"gold": Share(0.75, 0.74, 0.9), "web": Share(0.25, 0.26, 0.1)}
    assert verdict(shares).plain == "all have had what their weights give them of each model's time"
    assert verdict({}).plain == ""

"""The prompts' screen, driven by keys over a made-up host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from aquahost.client import TextEnd, TextPiece
from aquahost.errors import UnknownPromptError, UnreachableError
from aquahost.events import Event, EventKind
from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import EventCame, SnapshotCame
from aquahost_tui.screens.prompts import PromptsScreen
from aquahost_tui.steering import Steering
from aquahost_tui.widgets.prompt_output import PromptOutput
from aquahost_tui.widgets.queue_table import QueueTable
from made_host import TICK_S, snapshot
from scripted_client import ScriptedClient
from tui_host import RecordingSteering, StillFeed, made_app, settle, text_of, until_shown

END = TextEnd(finish_reason="stop", input_tokens=3, output_tokens=2)


@asynccontextmanager
async def prompts_shown(
    client: ScriptedClient | None = None,
    *,
    steering: Steering | None = None,
    ticks: int = 27,
    size: tuple[int, int] = (120, 40),
) -> AsyncIterator[tuple[AquahostApp, Pilot[None]]]:
    feed = StillFeed(ticks)
    app = made_app(feed, steering or RecordingSteering(client or ScriptedClient(hangs=True)))
    async with app.run_test(size=size) as pilot:
        await settle(pilot, feed)
        await pilot.press("4")
        await pilot.pause()
        yield app, pilot


def table_of(app: AquahostApp) -> QueueTable:
    return app.screen.query_one(QueueTable)


def chosen(app: AquahostApp) -> str:
    return str(app.screen.query_one("#life-box").border_title)


def show_tick(app: AquahostApp, tick: int) -> None:
    app.on_snapshot_came(SnapshotCame(snapshot(tick), tick * TICK_S))
    app.draw()


async def until_text(pilot: Pilot[Any], app: AquahostApp, words: str) -> None:
    await until_shown(pilot, lambda: words in text_of(app))


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_all_of_a_prompt_is_told_at_any_size(size: tuple[int, int]) -> None:
    async with prompts_shown(size=size) as (app, pilot):
        await pilot.press("down")
        text = text_of(app)
        for words in (
            "p0003xyz · its whole life",
            "paged to host",
            "#4, its turn in about 350ms",
            "164 tokens out, 19 in",
            "14.0 tokens/s",
            "11.6 s, ",
            "2.5 s of device time (22%)",
            "3 of 1.0s, gaps to 3.0s",
            "chat (text) on GPU 0",
            "gold",
            "never",
            "░",
            "██⌂⌂⌂",
            "╵2s",
            "█ running",
        ):
            assert words in text, words


async def test_all_columns_are_there_where_it_is_wide() -> None:
    async with prompts_shown(size=(120, 40)) as (app, _):
        header = next(line for line in text_of(app).splitlines() if "TENANT" in line)
        for title in ("PROMPT", "STATE", "IN", "DONE", "TOK/S", "TTFT", "SERVICE", "WAIT", "AGE▼", "LINE", "NEXT"):
            assert title in header, title


async def test_the_text_comes_live_and_how_it_ended() -> None:
    client = ScriptedClient(TextPiece("Hello, wörld\x1b[2J"), TextPiece("!"), END)
    async with prompts_shown(client) as (app, pilot):
        await until_text(pilot, app, "Hello, wörld�[2J!")
        await until_text(pilot, app, "ended: stop")
        assert client.asked == [("output", "p0000xyz")]


async def test_another_prompt_ends_the_stream_of_the_one_before() -> None:
    client = ScriptedClient(TextPiece("words"), hangs=True)
    async with prompts_shown(client) as (app, pilot):
        await until_shown(pilot, lambda: client.waiting == 1)
        await pilot.press("down")
        assert chosen(app).startswith("p0003xyz")
        assert "words" not in text_of(app)
        await until_shown(pilot, lambda: client.asked[-1] == ("output", "p0003xyz") and client.waiting == 1)


async def test_only_a_prompt_that_one_stays_at_is_asked_for() -> None:
    client = ScriptedClient(hangs=True)
    async with prompts_shown(client) as (_, pilot):
        await pilot.press("down", "down", "down", "down", "down", "down")
        await until_shown(pilot, lambda: client.waiting == 1)
        assert client.asked[-1] == ("output", "p0018xyz")
        assert len(client.asked) <= 2


async def test_leaving_ends_the_stream_and_a_question_does_not() -> None:
    client = ScriptedClient(TextPiece("words"), hangs=True)
    async with prompts_shown(client) as (app, pilot):
        await until_shown(pilot, lambda: client.waiting == 1)
        await pilot.press("c")
        await pilot.pause(0.1)
        assert client.waiting == 1
        await pilot.press("n", "1")
        await until_shown(pilot, lambda: client.waiting == 0)
        await pilot.press("4")
        await until_shown(pilot, lambda: client.waiting == 1)
        await until_text(pilot, app, "words")
        assert client.asked == [("output", "p0000xyz")] * 2


async def test_why_there_is_no_text() -> None:
    client = ScriptedClient(UnknownPromptError("no live prompt has the id 'p0000xyz'"))
    async with prompts_shown(client) as (app, pilot):
        await until_text(pilot, app, "no live prompt has the id 'p0000xyz'")


async def test_a_text_that_broke_off_is_followed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost_tui.widgets.prompt_output._RETRY_S", 0.05)
    client = ScriptedClient(TextPiece("some words"), hangs=True)
    async with prompts_shown(client) as (app, pilot):
        await until_text(pilot, app, "some words")
        client.items = (UnreachableError("no daemon answers"),)
        client.interrupt()
        await until_text(pilot, app, "no daemon answers")
        assert "some words" in text_of(app)
        client.items = (TextPiece("some words, and more"), END)
        await until_text(pilot, app, "some words, and more")
        await until_text(pilot, app, "ended: stop")
        assert "no daemon answers" not in text_of(app)


async def test_a_recording_has_no_text_and_says_so() -> None:
    async with prompts_shown(steering=Steering(None, readonly=False)) as (app, pilot):
        await until_text(pilot, app, "a recording holds how prompts fared")


async def test_an_image_is_told_in_steps() -> None:
    client = ScriptedClient(hangs=True)
    async with prompts_shown(client) as (app, pilot):
        await pilot.press("slash", *"image", "enter", "home")
        assert "paint (image) on GPU 2" in text_of(app)
        assert "of 30 steps" in str(app.screen.query_one("#output-box").query_one("PromptOutput Static").render())
        await pilot.pause(0.3)
        assert client.waiting == 0


async def test_one_that_ends_stays_until_the_cursor_is_moved() -> None:
    client = ScriptedClient(TextPiece("last words"), hangs=True)
    async with prompts_shown(client, ticks=39) as (app, pilot):
        await until_text(pilot, app, "last words")
        app.on_event_came(
            EventCame(
                Event(
                    seq=99,
                    at="2026-11-25T12:00:41.000Z",
                    kind=EventKind.PROMPT_FINISHED,
                    message="p0000xyz has finished",
                    prompt_id="p0000xyz",
                )
            )
        )
        show_tick(app, 41)
        await pilot.pause()
        assert chosen(app) == "p0000xyz · its whole life · ended"
        assert "ended: finished at 12:00:41" in text_of(app)
        assert "last words" in text_of(app)
        row = table_of(app).row
        assert row is not None
        assert row.view.id != "p0000xyz"
        await pilot.press("c")
        await pilot.pause()
        assert "Cancel prompt" not in text_of(app)  # what is shown has ended, whatever the cursor is on
        await pilot.press("down")
        now = chosen(app)
        assert not now.startswith("p0000xyz")
        await pilot.press("c")
        await pilot.pause()
        assert f"Cancel prompt {now[:8]}" in text_of(app)


async def test_ended_ones_can_be_shown_too() -> None:
    async with prompts_shown(ticks=41) as (app, pilot):
        live = len(table_of(app).rows)
        await pilot.press("e")
        assert len(table_of(app).rows) > live
        await pilot.press("slash", *"ended", "enter", "home")
        await pilot.pause()
        assert [row.ended_s is None for row in table_of(app).rows] == [False] * (len(table_of(app).rows))
        assert "ended" in chosen(app)
        assert "its text was not followed" in text_of(app)
        await pilot.press("c")
        await pilot.pause()
        assert "has ended" in next(iter(app._notifications)).message
        await pilot.press("escape", "e")
        assert len(table_of(app).rows) <= live


async def test_a_long_life_can_be_seen_at_its_end() -> None:
    async with prompts_shown() as (app, pilot):
        await pilot.press("z")
        assert chosen(app) == "p0000xyz · its last 30 s"
        await pilot.press("z")
        assert chosen(app) == "p0000xyz · its whole life"


async def test_enter_in_the_overview_goes_to_the_prompt() -> None:
    async with prompts_shown() as (app, pilot):
        await pilot.press("1", "down", "down", "enter")
        await pilot.pause()
        assert isinstance(app.screen, PromptsScreen)
        await until_shown(pilot, lambda: chosen(app).startswith("p0006xyz"))
        row = table_of(app).row
        assert row is not None
        assert row.view.id == "p0006xyz"
        await pilot.press("enter")
        assert isinstance(app.focused, PromptOutput)
        await pilot.press("escape")
        assert isinstance(app.focused, QueueTable)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, PromptsScreen)


@pytest.mark.parametrize("place", ["1", "4"])
async def test_cancelling_asks_first(place: str) -> None:
    steering = RecordingSteering(ScriptedClient(hangs=True))
    async with prompts_shown(steering=steering) as (app, pilot):
        await pilot.press(place, "down", "c")
        await pilot.pause()
        assert "Cancel prompt p0003xyz?" in text_of(app)
        await pilot.press("n", "c")
        assert steering.deeds == []
        await pilot.press("y")
        await until_shown(pilot, lambda: steering.deeds == ["cancel p0003xyz"])


async def test_nothing_is_cancelled_where_nothing_is_steered() -> None:
    async with prompts_shown(steering=RecordingSteering(ScriptedClient(), readonly=True)) as (app, pilot):
        await pilot.press("c")
        await pilot.pause()
        assert "--readonly" in next(iter(app._notifications)).message


async def test_no_prompts_at_all() -> None:
    async with prompts_shown(ticks=2) as (app, pilot):
        assert "no prompts; send one with t" in text_of(app)
        await pilot.press("c", "enter", "z", "e")
        await pilot.pause()
        assert "no prompt is chosen" in next(iter(app._notifications)).message

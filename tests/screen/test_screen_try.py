"""The place to try models, driven by keys over a made-up host."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from aquahost.client import TextEnd, TextPiece
from aquahost.errors import QueueFullError
from aquahost.messages.snapshot import ModelState, ModelView, Snapshot
from aquahost.messages.wire import LoadProgress
from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import SnapshotCame
from aquahost_tui.screens.overview import OverviewScreen
from aquahost_tui.screens.try_model import TryScreen
from aquahost_tui.steering import Steering
from aquahost_tui.trial import Turn
from aquahost_tui.widgets.turn_view import TurnView
from made_host import snapshot
from scripted_client import ScriptedClient
from try_host import notes_of, try_shown, until_text
from tui_host import RecordingSteering, text_of, until_shown

END = TextEnd(finish_reason="length", input_tokens=12, output_tokens=61)


def words_of(app: AquahostApp) -> Input:
    return app.screen.query_one("#words", Input)


def with_model(name: str, **changes: Any) -> Snapshot:
    """The made-up host, but for one model."""
    host = snapshot(27)
    models: list[ModelView] = [
        msgspec.structs.replace(model, **changes) if model.name == name else model for model in host.models
    ]
    return msgspec.structs.replace(host, models=models)


async def test_what_is_typed_goes_nowhere_else() -> None:
    async with try_shown(hangs=True) as (app, pilot, client):
        keys = "1234567qptlucezs/.,?"
        await pilot.press(*("slash" if key == "/" else key for key in keys))
        assert isinstance(app.screen, TryScreen)
        assert words_of(app).value == keys
        assert app.store.paused is False
        assert client.asked == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_a_chat_with_a_memory(size: tuple[int, int]) -> None:
    async with try_shown(TextPiece("The sky "), TextPiece("is blue."), END, size=size) as (app, pilot, client):
        assert "Type below to ask it something" in text_of(app)
        assert "chat · llm · ready on GPU 0" in text_of(app)
        await pilot.press(*"why", "enter")
        await until_text(pilot, app, "61 tokens")
        for words in ("› why", "The sky is blue.", "61 tokens", "first after", "ended:"):
            assert words in text_of(app), words
        assert words_of(app).value == ""
        await pilot.press(*"so", "enter")
        await until_shown(pilot, lambda: len(client.asked) == 2)
        assert client.asked[1] == (
            "chat",
            "chat",
            [
                {"role": "user", "content": "why"},
                {"role": "assistant", "content": "The sky is blue."},
                {"role": "user", "content": "so"},
            ],
        )
        await until_text(pilot, app, "› so")


async def test_a_conversation_can_be_begun_anew() -> None:
    async with try_shown(TextPiece("Yes."), END) as (app, pilot, client):
        await pilot.press(*"why", "enter")
        await until_text(pilot, app, "61 tokens")
        await pilot.press("ctrl+l")
        await pilot.pause()
        assert "Yes." not in text_of(app)
        await pilot.press(*"so", "enter")
        await until_shown(pilot, lambda: len(client.asked) == 2)
        assert client.asked[1][2] == [{"role": "user", "content": "so"}]


async def test_esc_stops_a_prompt_and_only_then_leaves() -> None:
    async with try_shown(TextPiece("The sky"), hangs=True) as (app, pilot, client):
        await pilot.press(*"why", "enter")
        await until_text(pilot, app, "The sky")
        await pilot.press(*"x", "enter")
        assert "chat still answers" in notes_of(app)[0]
        await pilot.press("ctrl+l")
        assert len(notes_of(app)) == 1  # the same words still stand there
        assert "The sky" in text_of(app)
        await pilot.press("escape")
        await until_shown(pilot, lambda: client.waiting == 0)
        await until_text(pilot, app, "stopped, first after")
        assert isinstance(app.screen, TryScreen)
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(app.screen, OverviewScreen)


async def test_a_prompt_goes_on_while_one_looks_elsewhere_and_ends_with_the_app() -> None:
    async with try_shown(TextPiece("The sky"), hangs=True) as (app, pilot, client):
        await pilot.press(*"why", "enter", "tab", "1")
        await until_shown(pilot, lambda: isinstance(app.screen, OverviewScreen) and client.waiting == 1)
        await pilot.press("t")
        await until_text(pilot, app, "The sky")
    for _ in range(100):
        await asyncio.sleep(0.02 if client.waiting else 0)
    assert client.waiting == 0


async def test_the_api_s_reason_is_shown() -> None:
    async with try_shown(QueueFullError("the queue of chat is full (512 prompts)")) as (app, pilot, _):
        await pilot.press(*"why", "enter")
        await until_text(pilot, app, "the queue of chat is full (512 prompts)")
        assert "first after" not in text_of(app)


async def test_each_model_has_a_conversation_of_its_own() -> None:
    async with try_shown(TextPiece("Yes."), END) as (app, pilot, _):
        await pilot.press(*"why", "enter")
        await until_text(pilot, app, "Yes.")
        await pilot.press("down")
        await pilot.pause()
        assert "coder · llm" in text_of(app)
        assert "Yes." not in text_of(app)
        await pilot.press("up")
        await until_text(pilot, app, "Yes.")
        await pilot.press("up", *"a", "enter")
        await pilot.pause()
        assert "spare failed: no file model.safetensors" in text_of(app)


async def test_a_model_that_is_not_loaded_is_loaded_first() -> None:
    client = ScriptedClient(TextPiece("Here."), END)
    load = LoadProgress("loading weights", 1 << 30, 4 << 30)
    client.snapshots = [
        with_model("coder", state=ModelState.UNLOADED),
        *[with_model("coder", state=ModelState.LOADING, load=load)] * 3,
        snapshot(27),
    ]
    async with try_shown(client=client) as (app, pilot, _):
        app.on_snapshot_came(SnapshotCame(with_model("coder", state=ModelState.UNLOADED, gpu=None), 14.0))
        app.draw()
        await pilot.press("down")
        await pilot.pause()
        assert "coder is unloaded; the first prompt has it loaded" in text_of(app)
        await pilot.press(*"hi", "enter")
        await until_shown(pilot, lambda: ("load", "coder") in client.asked)
        app.on_snapshot_came(SnapshotCame(with_model("coder", state=ModelState.LOADING, load=load), 14.5))
        app.draw()
        await pilot.pause()
        assert "coder: loading weights, 1.0 GiB of 4.0 GiB" in text_of(app)
        assert "25%" in text_of(app)
        await until_text(pilot, app, "Here.")


async def test_esc_gives_up_waiting_for_a_model() -> None:
    client = ScriptedClient(TextPiece("Here."), END)
    client.snapshots = [with_model("chat", state=ModelState.LOADING)]
    async with try_shown(client=client) as (app, pilot, _):
        await pilot.press(*"hi", "enter", "escape")
        await until_text(pilot, app, "stopped")
        assert client.asked == []


async def test_why_nothing_can_be_sent() -> None:
    async with try_shown(steering=RecordingSteering(ScriptedClient(), readonly=True)) as (app, pilot, _):
        assert "Nothing can be sent: started with --readonly" in text_of(app)
        await pilot.press("down", "2")
        await pilot.pause()
        assert not isinstance(app.screen, TryScreen)
    async with try_shown(steering=Steering(None, readonly=False)) as (app, _, _):
        assert "Nothing can be sent: this is a recording" in text_of(app)


async def test_a_turn_may_be_shown_before_its_parts_are_there() -> None:
    async with try_shown(TextPiece("Yes."), END) as (app, pilot, _):
        turn = TurnView(Turn("why", 0.0), "llm")
        app.screen.query_one("#turns").mount(turn)
        turn.show_turn("loading")
        await until_text(pilot, app, "loading")

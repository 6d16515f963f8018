"""The place to try models, driven by keys over a made-up host."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input

from aquahost.client import Media, StepDone, TextEnd, TextPiece
from aquahost.errors import QueueFullError
from aquahost.messages.snapshot import ModelState, ModelView, Snapshot
from aquahost.messages.wire import LoadProgress
from aquahost_tui.app import AquahostApp
from aquahost_tui.messages import SnapshotCame
from aquahost_tui.screens.overview import OverviewScreen
from aquahost_tui.screens.try_model import TryScreen
from aquahost_tui.steering import Steering
from aquahost_tui.widgets.media_view import MediaView
from made_host import snapshot
from scripted_client import ScriptedClient
from tui_host import RecordingSteering, StillFeed, made_app, settle, text_of, until_shown

END = TextEnd(finish_reason="length", input_tokens=12, output_tokens=61)


@asynccontextmanager
async def try_shown(
    *items: Any,
    hangs: bool = False,
    client: ScriptedClient | None = None,
    steering: Steering | None = None,
    size: tuple[int, int] = (120, 40),
) -> AsyncIterator[tuple[AquahostApp, Pilot[None], ScriptedClient]]:
    client = client or ScriptedClient(*items, hangs=hangs)
    app = made_app(steering=steering or RecordingSteering(client))
    async with app.run_test(size=size) as pilot:
        await settle(pilot, StillFeed())
        await pilot.press("t")
        await pilot.pause()
        yield app, pilot, client


async def until_text(pilot: Pilot[Any], app: AquahostApp, words: str) -> None:
    await until_shown(pilot, lambda: words in text_of(app))


def words_of(app: AquahostApp) -> Input:
    return app.screen.query_one("#words", Input)


def notes_of(app: AquahostApp) -> list[str]:
    return [note.message for note in app._notifications]


def save(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)


def saved(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def png(width: int = 8, height: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (255, 0, 0)).save(file, "PNG")
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes([0, 0x40]) * 16_000)
    return file.getvalue()


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


async def test_an_image_is_drawn_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, "red-house.png", b"")
    async with try_shown(StepDone(step=2, steps=4), Media(png())) as (app, pilot, client):
        await pilot.press("ctrl+s")
        assert "no image or sound" in notes_of(app)[0]
        await pilot.press("down", "down", *"red", "space", *"house", "enter")
        await until_text(pilot, app, "8 × 8 pixels")
        assert client.asked == [("image", "paint", "red house", {"output_format": "png"})]
        assert "▀" * 48 in text_of(app)
        await pilot.press("ctrl+s")
        await until_text(pilot, app, "saved as red-house-2.png")
        assert saved(tmp_path) == {"red-house.png": b"", "red-house-2.png": png()}
        await pilot.press("tab", "s")
        assert len(saved(tmp_path)) == 2


async def test_a_picture_fits_after_the_terminal_has_changed() -> None:
    async with try_shown(Media(png(64, 64))) as (app, pilot, _):
        await pilot.press("down", "down", *"red", "enter")
        await until_text(pilot, app, "64 × 64 pixels")
        view = app.screen.query_one(MediaView)
        high = view.size.height
        await pilot.resize_terminal(100, 24)
        await until_shown(pilot, lambda: view.size.height < high)
        await until_text(pilot, app, "64 × 64 pixels")


async def test_steps_before_the_image() -> None:
    async with try_shown(StepDone(step=2, steps=4), hangs=True) as (app, pilot, _):
        await pilot.press("down", "down", *"red", "enter")
        await until_text(pilot, app, "2 of 4 steps")
        assert "██" in text_of(app)


async def test_a_sound_is_drawn_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with try_shown(StepDone(step=1, steps=1), Media(wav())) as (app, pilot, client):
        await pilot.press("down", "down", "down", *"slow", "enter")
        await until_text(pilot, app, "2.0 s, 8 kHz, mono")
        assert client.asked == [("audio", "sing", "slow", {"response_format": "wav"})]
        assert "█" * 60 in text_of(app)
        await pilot.press("ctrl+s")
        await until_text(pilot, app, "saved as slow.wav")
        assert saved(tmp_path) == {"slow.wav": wav()}


async def test_media_that_cannot_be_drawn_can_be_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with try_shown(Media(b"no image")) as (app, pilot, _):
        await pilot.press("down", "down", *"red", "enter")
        await until_text(pilot, app, "the picture cannot be shown")
        await pilot.press("ctrl+s")
        assert saved(tmp_path) == {"red.png": b"no image"}


async def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with try_shown(Media(b"no image")) as (app, pilot, _):
        await pilot.press("down", "down", *"red", "enter")
        await until_text(pilot, app, "the picture cannot be shown")
        monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        await pilot.press("ctrl+s")
        assert notes_of(app)[-1] == "red.png: No space left"


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

"""Images and sounds that are made in the place to try models: drawn, saved, and in time dropped."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from textual.widgets import Static

from aquahost.client import Media, StepDone
from aquahost_tui.app import AquahostApp
from aquahost_tui.trial import MOST_MEDIA
from aquahost_tui.widgets.media_view import MediaView
from try_host import notes_of, png, try_shown, until_text, wav
from tui_host import text_of, until_shown


def save(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)


def saved(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def has_made(app: AquahostApp, count: int) -> bool:
    ends = [str(end.render()) for end in app.screen.query("TurnView .end").results(Static)]
    return len(ends) == count and all("made in" in end for end in ends)


async def test_only_the_last_images_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with try_shown(StepDone(step=4, steps=4), Media(png())) as (app, pilot, _):
        await pilot.press("down", "down")
        for number in range(1, MOST_MEDIA + 2):
            await pilot.press(*"red", "enter")
            await until_shown(pilot, partial(has_made, app, number))
        await until_shown(pilot, lambda: len(app.screen.query(MediaView)) == MOST_MEDIA)
        app.screen.query_one("#talk").scroll_home(animate=False)
        await until_text(pilot, app, "kept here no longer")
        assert "made in" in text_of(app)
        await pilot.press("ctrl+s")
        assert saved(tmp_path) == {"red.png": png()}

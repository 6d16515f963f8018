"""The place to try models over a made-up host, and files of the kinds that models make."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from PIL import Image
from textual.pilot import Pilot

from aquahost_tui.app import AquahostApp
from aquahost_tui.steering import Steering
from scripted_client import ScriptedClient
from tui_host import RecordingSteering, StillFeed, made_app, settle, text_of, until_shown


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


def notes_of(app: AquahostApp) -> list[str]:
    return [note.message for note in app._notifications]


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

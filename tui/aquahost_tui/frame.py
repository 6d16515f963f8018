"""One picture of the overview, for pipes and scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.segment import Segment, Segments
from textual.pilot import Pilot
from textual.strip import Strip

from aquahost.client import Client
from aquahost_tui.app import AquahostApp
from aquahost_tui.feeds.feed import Post
from aquahost_tui.feeds.recording import read_recording
from aquahost_tui.steering import Steering
from aquahost_tui.store.store import Store

_RATES_S = 0.6
"""Between two snapshots, for rates to be known."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a screen looks like, line by line."""

    strips: list[Strip]

    def plain(self) -> str:
        """As text, without colours."""
        return "".join(f"{strip.text.rstrip()}\n" for strip in self.strips)

    def coloured(self, stream: TextIO) -> str:
        """With the colours that the terminal has which `stream` is."""
        console = Console(file=stream, highlight=False)
        with console.capture() as written:
            for strip in self.strips:
                console.print(Segments([*strip, Segment.line()]), end="", soft_wrap=True)
        return written.get()


class SilentFeed:
    """Tells nothing: the store is full already."""

    title = ""

    def run(self, post: Post) -> None:
        """There is nothing to tell."""

    def pause(self, paused: bool) -> None:
        """There is nothing to hold back."""

    def stop(self) -> None:
        """It has ended."""


class FrameApp(AquahostApp):
    """The app without what only keys and mouse need."""

    CSS = """
    TabBar, KeyBar { display: none; }
    LiveTable > .live-table--cursor { background: transparent; text-style: none; }
    """

    def __init__(self, store: Store, *, theme: str | None) -> None:
        super().__init__(SilentFeed(), Steering(None, readonly=True), theme=theme)
        self.store = store
        self.frame = Frame([])

    async def take_picture(self, pilot: Pilot[object]) -> None:
        """Draw until everything stands, keep the picture, and leave."""
        for _ in range(3):  # the first drawing makes the GPUs' widgets, the next one fills them
            await pilot.pause()
            self.draw()
        await pilot.pause()
        self.frame = Frame(self.screen._compositor.render_strips())
        self.exit()


def draw_daemon(
    client: Client,
    now_s: Callable[[], float],
    sleep: Callable[[float], None],
    *,
    size: tuple[int, int],
    theme: str | None,
) -> Frame:
    """The daemon as it is now. Raises AquahostError if it does not answer."""
    store = Store()
    store.take(client.snapshot(), now_s())
    sleep(_RATES_S)
    snapshot = client.snapshot()
    if snapshot.last_event_seq:
        for event in client.events():
            store.note(event)
            if event.seq >= snapshot.last_event_seq:
                break
    store.take(snapshot, now_s())
    return _draw(store, size, theme)


def draw_recording(path: Path, *, size: tuple[int, int], theme: str | None) -> Frame:
    """A recording's end. Raises RecordingError if it cannot be read."""
    store = Store()
    for line in read_recording(path):
        if line.snapshot is not None:
            store.take(line.snapshot, line.t)
        elif line.event is not None:
            store.note(line.event)
    return _draw(store, size, theme)


def _draw(store: Store, size: tuple[int, int], theme: str | None) -> Frame:
    app = FrameApp(store, theme=theme)
    app.run(headless=True, size=size, auto_pilot=app.take_picture)
    return app.frame

"""One picture of the overview, for pipes and scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.segment import Segment, Segments
from textual.pilot import Pilot
from textual.strip import Strip

from aquahost.client import Client
from aquahost_tui.app import AquahostApp
from aquahost_tui.feeds.feed import Post
from aquahost_tui.feeds.recording import RecordingError, read_recording, title_of
from aquahost_tui.steering import Steering
from aquahost_tui.store.store import Store

_RATES_S = 0.6
"""Between two snapshots, for rates to be known."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a screen looks like, line by line."""

    strips: list[Strip]
    trouble: str = ""
    """Why it is not of a recording's end, if it is not."""

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

    def __init__(self, title: str) -> None:
        self.title = title

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

    def __init__(self, store: Store, *, title: str, theme: str | None) -> None:
        """`title`: where the store comes from, if not from the daemon."""
        super().__init__(SilentFeed(title), Steering(None, readonly=True), theme=theme)
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
    """A recording's end, or where it is damaged what stands before that. Raises RecordingError if that is nothing."""
    store, trouble = Store(), ""
    try:
        for line in read_recording(path):
            if line.snapshot is not None:
                store.take(line.snapshot, line.t)
            elif line.event is not None:
                store.note(line.event)
    except RecordingError as error:
        if store.snapshot is None:
            raise
        trouble = str(error)
    return replace(_draw(store, size, theme, title=title_of(path)), trouble=trouble)


def _draw(store: Store, size: tuple[int, int], theme: str | None, *, title: str = "") -> Frame:
    app = FrameApp(store, title=title, theme=theme)
    app.run(headless=True, size=size, auto_pilot=app.take_picture)
    return app.frame

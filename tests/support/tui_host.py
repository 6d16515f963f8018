"""The terminal UI over a made-up host: a feed that has told all it has to tell, and steering that only notes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from textual.pilot import Pilot

from aquahost.client import Client
from aquahost.errors import AquahostError
from aquahost_tui.app import AquahostApp
from aquahost_tui.feeds.feed import Post
from aquahost_tui.messages import EventCame
from aquahost_tui.steering import RefusedError, Steering
from made_host import TICK_S, events, snapshot


class StillFeed:
    """Tells the made-up host's first `ticks` ticks, one after the other as fast as they are shown, and then nothing."""

    def __init__(self, ticks: int = 27, prompts: int = 96, title: str = "") -> None:
        self.title = title
        self.paused: list[bool] = []
        self.told = threading.Event()
        self._ticks = ticks
        self._prompts = prompts

    def run(self, post: Post) -> None:
        """Nothing in between may be dropped for something newer, so the app is driven by hand in `shown`."""
        self.told.set()

    def pause(self, paused: bool) -> None:
        """Note it."""
        self.paused.append(paused)

    def stop(self) -> None:
        """Nothing to stop."""

    def fill(self, app: AquahostApp) -> None:
        """Put all of it into the app's store, in order."""
        for tick in range(self._ticks + 1):
            app.store.take(snapshot(tick, self._prompts), tick * TICK_S)
        for event in events(self._ticks):
            app.on_event_came(EventCame(event))


class RecordingSteering(Steering):
    """Notes what it is asked for; with `trouble` it fails with these words instead."""

    def __init__(self, client: object = None, *, readonly: bool = False, trouble: str = "") -> None:
        """`client` is what `watching` and `prompting` give."""
        super().__init__(lambda: cast(Client, client), readonly=readonly)
        self.deeds: list[str] = []
        self.trouble = trouble
        self._fake = client

    def load(self, model: str) -> str:
        return self._noted(f"load {model}")

    def unload(self, model: str) -> str:
        return self._noted(f"unload {model}")

    def park(self, model: str) -> str:
        return self._noted(f"park {model}")

    def wake(self, model: str) -> str:
        return self._noted(f"wake {model}")

    def pin(self, model: str, *, pinned: bool) -> str:
        return self._noted(f"{'pin' if pinned else 'unpin'} {model}")

    def cancel(self, prompt_id: str) -> str:
        return self._noted(f"cancel {prompt_id}")

    @contextmanager
    def watching(self) -> Iterator[Client]:
        if self._fake is None:
            raise RefusedError("there is no daemon to ask")
        yield cast(Client, self._fake)

    @contextmanager
    def prompting(self) -> Iterator[Client]:
        if self.refusal is not None:
            raise RefusedError(self.refusal)
        with self.watching() as client:
            yield client

    def _noted(self, deed: str) -> str:
        if self.trouble:
            raise AquahostError(self.trouble)
        self.deeds.append(deed)
        return deed


def made_app(feed: StillFeed | None = None, steering: Steering | None = None, theme: str | None = None) -> AquahostApp:
    """The app over the made-up host; `settle` it once it runs."""
    return AquahostApp(feed or StillFeed(), steering or RecordingSteering(), theme=theme)


async def settle(pilot: Pilot[Any], feed: StillFeed | None = None) -> None:
    """Show all that the feed has to tell."""
    app = cast(AquahostApp, pilot.app)
    await pilot.pause()
    (feed or StillFeed()).fill(app)
    app.draw()
    await pilot.pause()


async def until_shown(pilot: Pilot[Any], condition: Callable[[], bool], tries: int = 200) -> None:
    """Wait until the app has come so far; fails after a few seconds."""
    for _ in range(tries):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("the app never came so far")


def text_of(app: AquahostApp) -> str:
    """All that is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)

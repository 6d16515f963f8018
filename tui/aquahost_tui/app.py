"""The terminal UI's app: one store, one feed, and the screens that show the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, ClassVar

from textual import events
from textual.actions import SkipAction
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Input

from aquahost.clock import SystemClock
from aquahost_tui import palette
from aquahost_tui.feeds.feed import Feed
from aquahost_tui.help_text import key_sections, meaning_sections
from aquahost_tui.messages import EventCame, FeedBroke, FeedEnded, FeedFailed, SnapshotCame
from aquahost_tui.model_keys import ModelKeys
from aquahost_tui.pace import FRAME_S, Pace
from aquahost_tui.places import PLACES
from aquahost_tui.prompt_keys import PromptKeys
from aquahost_tui.screens.help import HelpScreen
from aquahost_tui.screens.too_small import TooSmallScreen, is_too_small
from aquahost_tui.steering import Steering
from aquahost_tui.store.plain_words import printable
from aquahost_tui.store.store import Store
from aquahost_tui.terminal_input import ForgivingDriver
from aquahost_tui.themes import DARK, LIGHT, SIXTEEN
from aquahost_tui.widgets.tab_bar import TabBar

SAME_WORDS_S = 4.0
"""The same words are not told again so soon: a key held down would fill the screen with them."""


class AquahostApp(ModelKeys, PromptKeys):
    """Shows what `feed` tells and steers through `steering`."""

    TITLE = "aquahost"
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(
                place.key, f"go('{place.name}')", place.name, id=f"app.{place.name}", show=False, tooltip=place.tooltip
            )
            for place in PLACES
        ),
        Binding("p", "pause", "Pause", id="app.pause", tooltip="Hold updates back, or let them go on"),
        Binding("q", "quit", "Quit", id="app.quit", tooltip="Leave; the daemon goes on"),
        Binding("ctrl+c", "interrupt", "Quit", id="app.interrupt", show=False, priority=True, tooltip="Copy, or leave"),
    ]

    def __init__(self, feed: Feed, steering: Steering, *, theme: str | None = None) -> None:
        # With native colours, NO_COLOR means the terminal's own; Textual would make them grey, which is black there.
        super().__init__(driver_class=ForgivingDriver, ansi_color=True if theme == SIXTEEN.name else None)
        self.store = Store()
        self.steering = steering
        self.failure: str | None = None
        """Why it had to end by itself, if it had to."""
        self._feed = feed
        self._told = ("", 0.0)
        """What was told last, and when."""
        self._newest: SnapshotCame | None = None
        self._is_dirty = False
        self._pace = Pace()
        self._clock = SystemClock()
        self._theme_wish = theme

    def on_mount(self) -> None:
        """Begin to listen and to draw."""
        for theme in (DARK, LIGHT, SIXTEEN):
            self.register_theme(theme)
        self.theme = self._theme_wish or DARK.name
        only_watches = self.steering.refusal is not None and not self.steering.is_recording
        title = self._feed.title or ("read only" if only_watches else "")
        names = [(place.key, place.name) for place in PLACES]
        for place in PLACES:
            self.install_screen(place.screen(title, names), place.name)
        self.push_screen(PLACES[0].name)
        self.call_after_refresh(lambda: self._check_room(self.size))
        threading.Thread(target=self._feed.run, args=(self.post_message,), name="feed", daemon=True).start()
        self.set_interval(FRAME_S, self._draw_news)

    def on_unmount(self) -> None:
        """Let the feed end."""
        self._feed.stop()

    # -- what comes --------------------------------------------------------------------------------------------

    def on_snapshot_came(self, message: SnapshotCame) -> None:
        """Keep it until the next frame; what comes before that replaces it."""
        self._newest = message

    def on_event_came(self, message: EventCame) -> None:
        """Keep it; after what came before it, which may be the first snapshot of another daemon."""
        self._take_newest()
        self.store.note(message.event)
        self._is_dirty = True

    def on_feed_broke(self, message: FeedBroke) -> None:
        """Say so, once for each reason."""
        if self.store.trouble != message.reason and self.store.snapshot is not None:
            self.notify(message.reason, title="no connection; trying again", severity="warning", timeout=8)
        self.store.lose(message.reason)
        self._is_dirty = True

    def on_feed_ended(self, message: FeedEnded) -> None:
        """The last picture stays."""
        self.store.ended = self._is_dirty = True
        self.notify(f"{message.reason}; q leaves", timeout=10)

    def on_feed_failed(self, message: FeedFailed) -> None:
        """Leave; whoever started the app says why."""
        self.failure = message.reason
        self.exit(return_code=1)

    # -- what is shown -----------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Show how things stand, on the screen one is at."""
        self._take_newest()
        place = self.place()
        if place is not None and place.is_mounted:
            self._is_dirty = False
            place.show(self.store)

    def _take_newest(self) -> None:
        if self._newest is not None:
            self.store.take(self._newest.snapshot, self._newest.at_s)
            self._newest = None
            self._is_dirty = True

    def _draw_news(self) -> None:
        has_news = self._is_dirty or self._newest is not None
        if has_news and self._pace.is_due(self._clock.now_s(), time.thread_time()):
            self.draw()

    def on_tab_bar_chosen(self, message: TabBar.Chosen) -> None:
        """A place was clicked."""
        self.action_go(message.name)

    def action_go(self, name: str) -> None:
        """Go to a place."""
        place = self.place()
        if place is None or self.screen is not place or name == place.NAME:
            return
        self.switch_screen(name)
        self.call_after_refresh(self.draw)

    def on_resize(self, event: events.Resize) -> None:
        """Say so where there is too little room."""
        self._check_room(event.size)

    def _check_room(self, size: Size) -> None:
        # The screen that says so goes away by itself. Before the first place is there, it would lie under it.
        said = any(isinstance(screen, TooSmallScreen) for screen in self.screen_stack)
        if is_too_small(size) and not said and self.place() is not None:
            self.push_screen(TooSmallScreen())

    def action_interrupt(self) -> None:
        """Leave; where text is selected, Ctrl-C copies it instead."""
        typed = self.focused.selected_text if isinstance(self.focused, Input) else ""
        if typed or self.screen.get_selected_text():
            raise SkipAction
        self.exit()

    def action_help(self) -> None:
        """Show every key that works here, and what colours and states mean."""
        place = self.place()
        if place is not None and self.screen is place:
            self.push_screen(HelpScreen(place.NAME, key_sections(place), meaning_sections()))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        return palette.commands(self)

    def action_pause(self) -> None:
        """Hold updates back, or let them go on."""
        self.store.paused = not self.store.paused
        self._feed.pause(self.store.paused)
        self.draw()

    def notify(self, message: str, *, markup: bool = False, **options: Any) -> None:
        """Tell something in a corner; words come from anywhere, so they are text and no markup."""
        now_s = self._clock.now_s()
        is_new = message != self._told[0] or now_s - self._told[1] > SAME_WORDS_S
        self._told = (message, now_s)
        if is_new:
            super().notify(printable(message), markup=markup, **options)

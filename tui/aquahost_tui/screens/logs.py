"""What happened and what was written: the events, and the logs of the daemon and of each worker."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from aquahost.clock import SystemClock
from aquahost_tui.log_text import LogText
from aquahost_tui.pace import FRAME_S
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.steering import Steering
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import Tone
from aquahost_tui.widgets.event_list import event_line
from aquahost_tui.widgets.filter_bar import FilterBar
from aquahost_tui.widgets.scrollback import Scrollback
from aquahost_tui.widgets.source_bar import SourceBar

EVENTS, DAEMON = "events", "daemon"
_RETRY_S = 1.0
_NOTHING = "nothing has been written yet"
_LEVEL = re.compile(r"^(\d{4}-\d\d-\d\d )(\d\d:\d\d:\d\d)(,\d+)? (DEBUG|INFO|WARNING|ERROR|CRITICAL) *(.*)$")
_TONES = {"DEBUG": Tone.DIM, "INFO": Tone.DIM, "WARNING": Tone.WARN, "ERROR": Tone.BAD, "CRITICAL": Tone.BAD}


class LogsScreen(TopScreen):
    """One source at a time; of a recording there are only events."""

    NAME = "logs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "source(-1)", "Source", id="logs.source_last", key_display="[ ]",
                tooltip="Show the log before"),
        Binding("right_square_bracket", "source(1)", "Next source", id="logs.source_next", show=False,
                tooltip="Show the next log"),
    ]  # fmt: skip

    def __init__(self, title: str, places: Sequence[tuple[str, str]]) -> None:
        super().__init__(title, places)
        self._run_id = ""
        self._last_seq = 0
        self._log: LogText | None = None
        self._has_come = False
        """Whether the lines shown are of this log; until it has written some, those of the one before stay."""
        self._trouble = ""
        """Why the log before broke off, as the last line shown tells."""
        self._frames: Timer | None = None

    def body(self) -> Iterable[Widget]:
        """The names of all sources, and the chosen one's lines."""
        yield SourceBar([EVENTS], id="sources")
        box = Vertical(Scrollback("lines"), id="lines-box", classes="box")
        box.border_title = EVENTS
        yield box

    def on_mount(self) -> None:
        """Keys go to the lines; look at each frame for what has come."""
        self._lines.focus()
        self._lines.begin("no events yet")
        self._frames = self.set_interval(FRAME_S, self._take)

    def on_unmount(self) -> None:
        """Leave nothing behind that reads."""
        self._leave()

    def on_screen_suspend(self) -> None:
        """Read nothing when another place is gone to; below a question or the help the log is followed on."""
        if self not in self.app.screen_stack:
            self._leave()
            if self._frames is not None:
                self._frames.pause()

    def on_screen_resume(self) -> None:
        """Go on with the log that one looked at last."""
        if self._frames is not None:
            self._frames.resume()
        if self._sources.source != EVENTS and self._log is None:
            self._follow()

    # -- what it shows -----------------------------------------------------------------------------------------

    def show(self, store: Store) -> None:
        """Offer the sources that there are now, and show new events."""
        super().show(store)
        snapshot = store.snapshot
        if snapshot is None:
            return
        models = [] if self._steering.is_recording else [DAEMON, *(model.name for model in snapshot.models)]
        self._sources.offer([EVENTS, *models])
        is_new, self._run_id = snapshot.run_id != self._run_id, snapshot.run_id
        if self._sources.source == EVENTS:
            if is_new:
                self._begin()
            self._show_events(store)

    def action_source(self, by: int) -> None:
        """Show another log."""
        self._sources.step(by)

    def on_source_bar_chosen(self, message: SourceBar.Chosen) -> None:
        """Show this one from its last lines on."""
        self._begin()

    def on_filter_bar_filtered(self, event: FilterBar.Filtered) -> None:
        """Keep lines with these words, and go back to them when typing has ended."""
        self._lines.filter = event.words
        if event.ended:
            self._lines.focus()

    def action_filter(self) -> None:
        """Type a filter."""
        self.query_one(FilterBar).open()

    def _begin(self) -> None:
        self._leave()
        source = self._sources.source
        self.query_one("#lines-box").border_title = source
        if source == EVENTS:
            self._last_seq = 0
            self._lines.begin("no events yet")
            self._show_events(self._host.store)
        else:
            self._lines.begin(_NOTHING)
            self._trouble = ""
            self._follow()

    def _follow(self) -> None:
        source = self._sources.source
        self._has_come = False
        self._log = LogText(self._steering, None if source == DAEMON else source, SystemClock())

    def _show_events(self, store: Store) -> None:
        new = [event for event in store.events if event.seq > self._last_seq]
        if new:
            self._last_seq = new[-1].seq
            self._lines.add(event_line(event, with_kind=True) for event in new)

    def _take(self) -> None:
        box, hint = self.query_one("#lines-box"), "" if self._lines.follows else "scrolled back; End follows"
        if box.border_subtitle != hint:  # setting it draws the box, whatever it was
            box.border_subtitle = hint
        log = self._log
        if log is None:
            return
        if lines := log.take():
            if not self._has_come:
                self._has_come, self._trouble = True, ""
                self._lines.begin(_NOTHING)
            self._lines.add(_log_line(line) for line in lines)
        if log.is_over:
            self._log = None
            if log.trouble != self._trouble:
                self._trouble = log.trouble
                self._lines.add([Content.styled(f"— {log.trouble}; trying again —", Tone.WARN.variable)])
            self.set_timer(_RETRY_S, self._again)

    def _again(self) -> None:
        if self in self.app.screen_stack and self._log is None and self._sources.source != EVENTS:
            self._follow()

    def _leave(self) -> None:
        if self._log is not None:
            self._log.stop()
            self._log = None

    # -- its parts ---------------------------------------------------------------------------------------------

    @property
    def _lines(self) -> Scrollback:
        return self.query_one(Scrollback)

    @property
    def _sources(self) -> SourceBar:
        return self.query_one(SourceBar)

    @property
    def _steering(self) -> Steering:
        return self._host.steering


def _log_line(line: str) -> Content:
    """The date left out, and warnings and errors in their colours."""
    found = _LEVEL.match(line)
    if found is None:
        return Content(line)
    _, clock, _, level, words = found.groups()
    tone = _TONES[level]
    loud = tone.variable if tone is not Tone.DIM else ""
    return Content.assemble((f"{clock} ", "$foreground-muted"), (f"{level:<8}", tone.variable), (words, loud))

"""The last events, newest below."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost.events import Event, EventKind
from aquahost_tui.clock_words import clock_of
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import Tone

_TONES = {
    EventKind.LEASE_GRANTED: Tone.BUSY,
    EventKind.LEASE_MAPPED: Tone.GOOD,
    EventKind.LEASE_RECALLED: Tone.WARN,
    EventKind.LEASE_RETURNED: Tone.ACCENT,
    EventKind.LEASE_OVERDUE: Tone.BAD,
    EventKind.LEASE_LOST: Tone.BAD,
    EventKind.LINK_REFUSED: Tone.BAD,
    EventKind.GPU_LOST: Tone.BAD,
    EventKind.WORKER_DIED: Tone.BAD,
    EventKind.MODEL_FAILED: Tone.BAD,
    EventKind.PROMPT_FAILED: Tone.BAD,
    EventKind.PROMPTS_STRANDED: Tone.WARN,
    EventKind.MODEL_READY: Tone.GOOD,
}
_KIND_WIDTH = 72
"""Columns from which there is room for the kind's name."""


class EventList(Widget):
    """As many events as there are lines; of those about single prompts, of which there are too many, only
    failures."""

    DEFAULT_CSS = """
    EventList { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._last_seq = -1
        self._events: list[Event] = []

    def show(self, store: Store) -> None:
        """Show those that came."""
        if store.last_seq != self._last_seq:
            self._last_seq = store.last_seq
            self._events = [event for event in store.events if _is_listed(event)][-200:]
            self.refresh()

    def render(self) -> Content:
        """Time, kind and message; a line each."""
        width = self.size.width
        shown = self._events[-max(self.size.height, 1) :]
        lines = [event_line(event, with_kind=width >= _KIND_WIDTH).truncate(width, ellipsis=True) for event in shown]
        return Content("\n").join(lines) if lines else Content.styled("no events yet", "$foreground-muted")


def _is_listed(event: Event) -> bool:
    return event.kind is EventKind.PROMPT_FAILED or not event.kind.startswith("prompt.")


def event_line(event: Event, *, with_kind: bool) -> Content:
    """Time, kind and message; without the kind's name, the message has its colour."""
    clock = (f"{clock_of(event.at)} ", "$foreground-muted")
    colour = _TONES.get(event.kind, Tone.PLAIN).variable
    if not with_kind:
        return Content.assemble(clock, (event.message, colour))
    return Content.assemble(clock, (f"{event.kind:<18} ", colour), event.message)

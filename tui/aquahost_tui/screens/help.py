"""Every key that works, and what colours, glyphs and states mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen

from aquahost_tui.help_text import Section
from aquahost_tui.widgets.help_column import HelpColumn

_SIDE_BY_SIDE = 110
"""Columns from which keys and meanings stand beside each other."""


class HelpScreen(ModalScreen[None]):
    """Scrolls where it does not fit; Esc, q and ? leave."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Close", id="help.close", tooltip="Close the help"),
        Binding("up,k", "scroll(-1)", "Up", id="help.up", show=False, tooltip="Scroll up"),
        Binding("down,j", "scroll(1)", "Down", id="help.down", show=False, tooltip="Scroll down"),
        Binding("pageup", "scroll(-10)", "Page up", id="help.pageup", show=False, tooltip="Scroll up a page"),
        Binding("pagedown,space", "scroll(10)", "Page down", id="help.pagedown", show=False, tooltip="Scroll on"),
    ]

    def __init__(self, place: str, keys: Sequence[Section], meanings: Sequence[Section]) -> None:
        """`place`: the screen that the keys are about."""
        super().__init__()
        self._place = place
        self._keys = keys
        self._meanings = meanings

    def compose(self) -> ComposeResult:
        """Keys, and meanings beside or below."""
        with Vertical(id="help") as box:
            box.border_title = f"help: {self._place}"
            box.border_subtitle = "↑ ↓ scroll   Esc closes"
            with VerticalScroll(id="help-scroll", can_focus=False), Horizontal(id="help-columns"):
                yield HelpColumn(self._keys, id="help-keys")
                yield HelpColumn(self._meanings, id="help-meanings")

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or stacked."""
        self.set_class(event.size.width < _SIDE_BY_SIDE, "-narrow")

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self.query_one("#help-scroll", VerticalScroll).scroll_relative(y=by, animate=False)

"""Where a filter is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class FilterBar(Input):
    """Hidden until it is asked for, and then above the places' names, so that nothing else moves.

    Posts every change, and closes with Enter (keeps the filter) or Esc (drops it).
    """

    DEFAULT_CSS = """
    FilterBar {
        display: none; layer: overlay; dock: right; margin: 1 0 0 0; width: 58; max-width: 70%; height: 1;
        border: none; border-left: tall $primary; padding: 0 1; background: $primary-muted;
    }
    FilterBar:focus { border: none; border-left: tall $accent; background-tint: $foreground 0%; }
    FilterBar.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "drop", "Drop the filter", id="filter.drop", tooltip="Show all rows again"),
    ]

    class Filtered(Message):
        """The words have changed, or typing has ended."""

        def __init__(self, words: str, *, ended: bool) -> None:
            super().__init__()
            self.words = words
            self.ended = ended

    def __init__(self) -> None:
        super().__init__(placeholder="words that rows must have; !word for those that must not", select_on_focus=False)

    def open(self) -> None:
        """Begin to type, from the words that hold."""
        self.add_class("-open")
        self.focus()

    def action_drop(self) -> None:
        """Show all rows again."""
        self.value = ""
        self._end()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one types."""
        event.stop()
        self.post_message(self.Filtered(self.value, ended=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter and go back to the rows."""
        event.stop()
        self._end()

    def _end(self) -> None:
        if not self.value:
            self.remove_class("-open")
        self.post_message(self.Filtered(self.value, ended=True))

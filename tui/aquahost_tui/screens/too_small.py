"""What is shown where a terminal has too little room for anything else."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

from aquahost_tui.sizes import LEAST_HEIGHT, LEAST_WIDTH


class TooSmallScreen(ModalScreen[None]):
    """Tells the size that is needed; goes away by itself when the terminal has it."""

    DEFAULT_CSS = """
    TooSmallScreen { background: $background; align: center middle; }
    TooSmallScreen Static { width: 100%; height: auto; text-align: center; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.quit", "Quit", id="too_small.quit", tooltip="Leave; the daemon goes on"),
    ]

    def compose(self) -> ComposeResult:
        """The words."""
        yield Static()

    def on_resize(self, event: events.Resize) -> None:
        """Another size."""
        self._check(event.size)

    def on_screen_resume(self) -> None:
        """What was above it has gone; meanwhile the terminal may have been enlarged."""
        self._check(self.app.size)

    def _check(self, size: Size) -> None:
        """Tell the size it has now, or go away."""
        if is_too_small(size):
            self.query_one(Static).update(_words(size))
        elif self.app.screen is self:  # whatever is on top would be dismissed, and a size may be told twice
            self.dismiss()


def is_too_small(size: Size) -> bool:
    """Whether the screens cannot be shown in a terminal of this size."""
    return size.width < LEAST_WIDTH or size.height < LEAST_HEIGHT


def _words(size: Size) -> Content:
    return Content.assemble(
        ("too small\n", "bold $text-warning"),
        (f"{size.width}×{size.height}; needs {LEAST_WIDTH}×{LEAST_HEIGHT}\n", ""),
        ("enlarge it, or q", "$foreground-muted"),
    )

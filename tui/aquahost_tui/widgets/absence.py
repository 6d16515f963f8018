"""What stands over a screen that has nothing to show yet."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from aquahost_tui.store.store import Store


class Absence(Static):
    """Says what is waited for, and how to start it, until the first snapshot is there."""

    DEFAULT_CSS = """
    Absence {
        layer: above; width: 100%; height: 100%; background: $background;
        content-align: center middle; text-align: center; padding: 0 2;
    }
    Absence.-over { display: none; }
    """

    def __init__(self, feed_title: str) -> None:
        super().__init__()
        self._waits_for = f"Waiting for the {feed_title}" if feed_title else "Waiting for the daemon"
        self._trouble: str | None = None

    def on_mount(self) -> None:
        """Something stands there from the beginning on."""
        self.update(self._words())

    def show(self, store: Store) -> None:
        """Go away once there is something to show."""
        self.set_class(store.snapshot is not None, "-over")
        if store.trouble != self._trouble:
            self._trouble = store.trouble
            self.update(self._words())

    def _words(self) -> Content:
        """What, why and what to do: a line each; commands stand out."""
        lines = [Content.styled(self._waits_for, "bold $text-primary"), Content("")]
        for piece in (self._trouble or "").split("; ") if self._trouble else []:
            said, colon, command = piece.partition(": ")
            lines.append(Content.assemble((said + colon, "$foreground-muted"), (command, "bold $text-warning")))
        if self._trouble:
            lines += [Content(""), Content.styled("trying again every second   ·   q leaves", "$foreground-muted")]
        return Content("\n").join(lines)

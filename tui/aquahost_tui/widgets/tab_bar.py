"""The second line: the screens, their keys, and which one this is."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class TabBar(Widget):
    """A click on a name goes there."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $surface; }
    """

    class Chosen(Message):
        """A screen was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, screens: Sequence[tuple[str, str]], current: str) -> None:
        """`screens`: key and name of each."""
        super().__init__()
        self._screens = screens
        self._current = current

    def render(self) -> Content:
        """Keys and names; where there is little room, of the other screens only the first letters of the name."""
        return Content.assemble(*((text, style) for text, style, _ in self._pieces()))

    def on_click(self, event: events.Click) -> None:
        """Find out whose name that is."""
        left = 0
        for text, _, name in self._pieces():
            if left <= event.x < left + len(text):
                if name != self._current:
                    self.post_message(self.Chosen(name))
                return
            left += len(text)

    def _pieces(self) -> list[tuple[str, str, str]]:
        full = sum(len(key) + len(name) + 3 for key, name in self._screens) <= self.size.width
        pieces = []
        for key, name in self._screens:
            here = name == self._current
            text = f" {key} {name} " if full or here else f" {key} {name[:4]} "
            pieces.append((text, "bold $background on $primary" if here else "$foreground-muted", name))
        return pieces

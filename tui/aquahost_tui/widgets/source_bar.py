"""The logs that there are, as a line of names to choose from."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget


class SourceBar(Widget):
    """Posts Chosen when a name is clicked; where not all fit, the chosen one is in view."""

    DEFAULT_CSS = """
    SourceBar { height: 1; }
    """

    class Chosen(Message):
        """Another source."""

        def __init__(self, source: str) -> None:
            super().__init__()
            self.source = source

    def __init__(self, sources: Sequence[str], id: str | None = None) -> None:
        super().__init__(id=id)
        self._sources = list(sources)
        self._at = 0

    @property
    def source(self) -> str:
        """The chosen one."""
        return self._sources[self._at]

    def offer(self, sources: Sequence[str]) -> None:
        """Replace all; the chosen one stays chosen if it is still there, else the first one is."""
        if list(sources) != self._sources:
            chosen = self.source
            self._sources = list(sources)
            self._choose(self._sources.index(chosen) if chosen in self._sources else 0, chosen)

    def step(self, by: int) -> None:
        """Choose the next one, or the one before."""
        self._choose((self._at + by) % len(self._sources), self.source)

    def on_click(self, event: events.Click) -> None:
        """Choose what is clicked."""
        left = 0
        for at, text in self._shown():
            if left <= event.x < left + len(text):
                self._choose(at, self.source)
                return
            left += len(text)

    def render(self) -> Content:
        """Names; the chosen one stands out."""
        return Content.assemble(
            *(
                (text, "bold $background on $primary" if at == self._at else "$foreground-muted")
                for at, text in self._shown()
            )
        ).truncate(self.size.width)

    def _choose(self, at: int, before: str) -> None:
        self._at = at
        self.refresh()
        if self.source != before:
            self.post_message(self.Chosen(self.source))

    def _shown(self) -> list[tuple[int, str]]:
        pieces = [(at, f" {source} ") for at, source in enumerate(self._sources)]
        while (
            len(pieces) > 1 and sum(len(text) for _, text in pieces) > self.size.width - 2 and pieces[0][0] < self._at
        ):
            pieces = pieces[1:]
        return pieces

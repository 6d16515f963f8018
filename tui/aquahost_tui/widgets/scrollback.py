"""Lines that keep coming: the end is followed until one scrolls back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from aquahost_tui.widgets.table_rows import matches

MOST_LINES = 5000
"""Of what came before, the oldest are forgotten."""


class Scrollback(ScrollView, can_focus=True, inherit_bindings=False):
    """The last lines of something, broken where they are too long; a filter keeps those that have all its words."""

    DEFAULT_CSS = """
    Scrollback { height: 1fr; background: transparent; scrollbar-size-vertical: 1; overflow-x: hidden; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", id="scrollback.up", show=False, tooltip="Scroll back one line"),
        Binding("down,j", "move(1)", "Down", id="scrollback.down", show=False, tooltip="Scroll on one line"),
        Binding("pageup", "page(-1)", "Back", id="scrollback.pageup", key_display="pgup", tooltip="Scroll back a page"),
        Binding("pagedown", "page(1)", "On", id="scrollback.pagedown", show=False, tooltip="Scroll on a page"),
        Binding("home,g", "first", "First", id="scrollback.first", show=False, tooltip="Go to the oldest line"),
        Binding("end,G", "last", "Follow", id="scrollback.last", key_display="end", tooltip="Follow the newest line"),
    ]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: deque[Content] = deque()
        self._blocks: deque[list[Content]] = deque()
        """What each line is broken into; empty for one that the filter leaves out."""
        self._rows: list[Content] = []
        self._filter = ""
        self._width = 0
        self._empty = ""
        self._follows = True

    # -- what it shows -----------------------------------------------------------------------------------------

    def begin(self, empty: str) -> None:
        """Drop all lines; these words stand there until there are some."""
        self._lines.clear()
        self._blocks.clear()
        self._follows = True
        self._empty = empty
        self._lay_out()

    def add(self, lines: Iterable[Content]) -> None:
        """New lines below."""
        for line in lines:
            self._lines.append(line)
            self._blocks.append(self._broken(line))
        forgotten = 0
        while len(self._lines) > MOST_LINES:
            self._lines.popleft()
            forgotten += len(self._blocks.popleft())
        self._lay_out(forgotten)

    @property
    def follows(self) -> bool:
        """Whether the newest line stays in view."""
        return self._follows

    @property
    def rows(self) -> list[str]:
        """What passes the filter, as it is broken."""
        return [row.plain for row in self._rows]

    @property
    def filter(self) -> str:
        """Words that lines must have."""
        return self._filter

    @filter.setter
    def filter(self, wish: str) -> None:
        self._filter = wish
        self._break_all()

    def _break_all(self) -> None:
        self._blocks = deque(self._broken(line) for line in self._lines)
        self._lay_out()

    def _broken(self, line: Content) -> list[Content]:
        if self._filter and not matches(line.plain, self._filter):
            return []
        if line.cell_length <= self._width or self._width <= 0:
            return [line]
        return line.wrap(self._width)

    def _lay_out(self, forgotten: int = 0) -> None:
        self._rows = list(chain.from_iterable(self._blocks))
        self.virtual_size = Size(self._width, len(self._rows))
        if self._follows:
            self.scroll_end(animate=False, immediate=True, force=True)
        elif forgotten:
            self.scroll_to(y=max(self.scroll_offset.y - forgotten, 0), animate=False, immediate=True, force=True)
        self.refresh()

    # -- keys and mouse ----------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Scroll by lines."""
        self.scroll_to(y=self.scroll_offset.y + by, animate=False)

    def action_page(self, by: int) -> None:
        """Scroll by pages."""
        self.scroll_to(y=self.scroll_offset.y + by * max(self.size.height - 1, 1), animate=False)

    def action_first(self) -> None:
        """Go to the oldest line."""
        self.scroll_to(y=0, animate=False)

    def action_last(self) -> None:
        """Follow the newest line again."""
        self._follows = True
        self.scroll_end(animate=False, immediate=True, force=True)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Scrolling back ends following, and coming to the end begins it again."""
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value:
            self._follows = new_value >= self.max_scroll_y
        elif new_value >= self.max_scroll_y:
            self._follows = True

    # -- drawing -----------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Break the lines anew where the width is another."""
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            self._break_all()
        elif self._follows:
            self.scroll_end(animate=False, immediate=True, force=True)

    def render_line(self, y: int) -> Strip:
        """One row of those in view."""
        width = self.scrollable_content_region.width
        at = self.scroll_offset.y + y
        row = self._rows[at] if at < len(self._rows) else Content("")
        if y == 0 and not self._rows:
            words = f"nothing matches “{self._filter}”; Esc clears the filter" if self._lines else self._empty
            row = Content.styled(words, "$foreground-muted")
        strips = Visual.to_strips(self, row, width, 1, self.visual_style, pad=True)
        return strips[0] if strips else Strip.blank(width)

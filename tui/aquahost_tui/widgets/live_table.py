"""A table of rows that change all the time: only what is visible is drawn, and the cursor stays with its row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from aquahost_tui.widgets.cells import Tone
from aquahost_tui.widgets.table_rows import Column, fit, in_order, matches, shown_columns

T = TypeVar("T")


class LiveTable(ScrollView, Generic[T], can_focus=True):
    """Rows of one kind, sorted, filtered and steered by keys and mouse. Posts RowChosen for Enter or a second click."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "live-table--header",
        "live-table--cursor",
        *(f"live-table--{tone}" for tone in Tone),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", id="table.up", show=False, tooltip="Go one row up"),
        Binding("down,j", "move(1)", "Down", id="table.down", show=False, tooltip="Go one row down"),
        Binding("pageup", "page(-1)", "Page up", id="table.pageup", show=False, tooltip="Go one page up"),
        Binding("pagedown", "page(1)", "Page down", id="table.pagedown", show=False, tooltip="Go one page down"),
        Binding("home,g", "edge(0)", "First", id="table.first", show=False, tooltip="Go to the first row"),
        Binding("end,G", "edge(1)", "Last", id="table.last", show=False, tooltip="Go to the last row"),
        Binding("enter", "choose", "Details", id="table.choose", tooltip="Show the row in detail"),
        Binding(
            "full_stop", "sort(1)", "Sort", id="table.sort_next", tooltip="Sort by the next column", key_display="./,"
        ),
        Binding(
            "comma", "sort(-1)", "Sort back", id="table.sort_last", show=False, tooltip="Sort by the column before"
        ),
        Binding("o", "reverse", "Reverse", id="table.reverse", show=False, tooltip="Turn the order round"),
    ]

    class RowChosen(Message):
        """Enter was pressed on a row, or it was clicked while the cursor was on it."""

        def __init__(self, table: LiveTable[Any], row: Any) -> None:
            super().__init__()
            self.table = table
            self.row = row

        @property
        def control(self) -> LiveTable[Any]:
            """The table."""
            return self.table

    class CursorMoved(Message):
        """The cursor is on another row than before, or on none."""

        def __init__(self, table: LiveTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> LiveTable[Any]:
            """The table."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column[T]],
        *,
        key: Callable[[T], Hashable],
        text: Callable[[T], str],
        sort_by: str,
        descending: bool = False,
        empty: str = "nothing",
        id: str | None = None,
    ) -> None:
        """`key` tells rows apart, `text` is what a filter is matched with, `empty` is shown where there are no rows."""
        super().__init__(id=id)
        self._columns = list(columns)
        self._key = key
        self._text = text
        self._sorted_by = next(at for at, column in enumerate(columns) if column.title == sort_by)
        self._descending = descending
        self._empty = empty
        self._all: Sequence[T] = ()
        self._rows: list[T] = []
        self._cursor = 0
        self._cursor_key: Hashable = None
        self._filter = ""
        self._layout: list[tuple[int, int]] = []
        self._layout_width = -1
        self._tones: dict[Tone, Style] = {}

    # -- what it shows -----------------------------------------------------------------------------------------

    def show_rows(self, rows: Sequence[T]) -> None:
        """Replace all rows."""
        self._all = rows
        self._arrange()

    @property
    def row(self) -> T | None:
        """Where the cursor is."""
        return self._rows[self._cursor] if self._rows else None

    def point_at(self, key: Hashable) -> None:
        """Put the cursor on the row of this key, if it is among those that are shown."""
        at = next((at for at, row in enumerate(self._rows) if self._key(row) == key), None)
        if at is not None:
            self._place_cursor(at)

    @property
    def rows(self) -> Sequence[T]:
        """Those that pass the filter, in order."""
        return self._rows

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """Title of the column, and whether the largest come first."""
        return self._columns[self._sorted_by].title, self._descending

    @property
    def filter(self) -> str:
        """Words that rows must have."""
        return self._filter

    @filter.setter
    def filter(self, wish: str) -> None:
        self._filter = wish
        self._arrange()
        self._place_cursor(self._cursor)

    def _arrange(self) -> None:
        passing = [row for row in self._all if matches(self._text(row), self._filter)] if self._filter else self._all
        self._rows = in_order(passing, self._columns[self._sorted_by], descending=self._descending)
        # The cursor stays with its row; where that is gone, with its place.
        at = next((at for at, row in enumerate(self._rows) if self._key(row) == self._cursor_key), self._cursor)
        self._place_cursor(at, scroll=False)
        self._fit_columns()
        self.refresh()

    def _place_cursor(self, at: int, *, scroll: bool = True) -> None:
        self._cursor = max(0, min(at, len(self._rows) - 1))
        before, self._cursor_key = self._cursor_key, self._key(self._rows[self._cursor]) if self._rows else None
        if self._cursor_key != before:
            self.post_message(self.CursorMoved(self))
        visible = max(self.size.height - 1, 1)
        if scroll:
            if self._cursor < self.scroll_offset.y:
                self.scroll_to(y=self._cursor, animate=False)
            elif self._cursor >= self.scroll_offset.y + visible:
                self.scroll_to(y=self._cursor - visible + 1, animate=False)
            self.refresh()

    # -- keys and mouse ----------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """Move the cursor by rows."""
        self._place_cursor(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by pages."""
        self._place_cursor(self._cursor + by * max(self.size.height - 2, 1))

    def action_edge(self, last: int) -> None:
        """Move the cursor to the first or the last row."""
        self._place_cursor(len(self._rows) if last else 0)

    def action_choose(self) -> None:
        """Tell of the row under the cursor."""
        if (row := self.row) is not None:
            self.post_message(self.RowChosen(self, row))

    def action_sort(self, by: int) -> None:
        """Sort by another of the columns that are shown."""
        shown = [at for at, _ in self._layout] or list(range(len(self._columns)))
        place = shown.index(self._sorted_by) if self._sorted_by in shown else -by
        self._sort_by(shown[(place + by) % len(shown)])

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._descending = not self._descending
        self._arrange()
        self._place_cursor(self._cursor)

    def _sort_by(self, at: int) -> None:
        self._descending = not self._descending if at == self._sorted_by else False
        self._sorted_by = at
        self._arrange()
        self._place_cursor(self._cursor)

    def on_click(self, event: events.Click) -> None:
        """A click on a title sorts, one on a row moves the cursor there, and one on the cursor's row chooses it."""
        event.stop()
        if event.y == 0:
            left = 0
            for at, width in self._layout:
                if left <= event.x <= left + width:
                    self._sort_by(at)
                    return
                left += width + 1
            return
        at = self.scroll_offset.y + event.y - 1
        if at >= len(self._rows):
            return
        if at == self._cursor:
            self.action_choose()
        self._place_cursor(at)

    # -- drawing -----------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Find out which columns fit."""
        self._fit_columns()

    def _fit_columns(self) -> None:
        # Setting the size may show or hide the scrollbar, which changes the width that is left for columns.
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + 1)
        self._lay_out(self.scrollable_content_region.width)

    def _lay_out(self, width: int) -> None:
        if width != self._layout_width:
            self._layout_width = width
            self._layout = shown_columns(self._columns, width)

    def notify_style_update(self) -> None:
        """Colours have changed."""
        super().notify_style_update()
        self._tones = {}

    def render_line(self, y: int) -> Strip:
        """The titles, and below them the rows that are in view."""
        width = self.scrollable_content_region.width
        # On a screen that was not shown before, the scrollbar is there only now.
        self._lay_out(width)
        if y == 0:
            return Strip([Segment(self._titles(width), self.get_component_rich_style("live-table--header"))], width)
        at = self.scroll_offset.y + y - 1
        if at >= len(self._rows):
            text = ""
            if y == 1 and not self._rows:
                text = f"nothing matches “{self._filter}”; Esc clears the filter" if self._filter else self._empty
            return Strip([Segment(fit(text, width), self._tone(Tone.DIM))], width)
        return self._row_strip(self._rows[at], width, is_cursor=at == self._cursor)

    def _titles(self, width: int) -> str:
        titles = []
        for at, size in self._layout:
            title = self._columns[at].title
            if at == self._sorted_by:
                title += "▼" if self._descending else "▲"
            titles.append(fit(title, size, right=self._columns[at].right))
        return fit(" ".join(titles), width)

    def _row_strip(self, row: T, width: int, *, is_cursor: bool) -> Strip:
        cursor = self.get_component_rich_style("live-table--cursor") if is_cursor else None
        segments = []
        for at, size in self._layout:
            column = self._columns[at]
            cell = column.cell(row)
            style = self._tone(cell.tone) if cursor is None or not self.has_focus else cursor
            segments.append(Segment(fit(cell.text, size, right=column.right) + " ", style))
        strip = Strip(segments).adjust_cell_length(width, self._tone(Tone.PLAIN))
        return strip.apply_style(cursor) if cursor is not None else strip

    def _tone(self, tone: Tone) -> Style:
        if tone not in self._tones:
            self._tones[tone] = self.get_component_rich_style(f"live-table--{tone}")
        return self._tones[tone]

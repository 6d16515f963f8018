"""What all screens share: the two lines above, the filter and the keys' line below, and the views between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget

from aquahost.messages.snapshot import ModelView
from aquahost_tui.store.store import Store
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.widgets.absence import Absence
from aquahost_tui.widgets.filter_bar import FilterBar
from aquahost_tui.widgets.key_bar import KeyBar
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.status_bar import StatusBar
from aquahost_tui.widgets.tab_bar import TabBar
from aquahost_tui.widgets.view import View

if TYPE_CHECKING:
    from aquahost_tui.app import AquahostApp


class TopScreen(Screen[None]):
    """One of the app's places. Subclasses say what stands between, in `body`."""

    NAME: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "slash",
            "filter",
            "Filter",
            id="screen.filter",
            tooltip="Show only rows with certain words",
            key_display="/",
        ),
        Binding(
            "question_mark,f1",
            "app.help",
            "Help",
            id="screen.help",
            tooltip="All keys, and what colours and states mean",
            key_display="?",
        ),
        Binding("escape", "back", "Back", id="screen.back", show=False, tooltip="Drop the filter, or go back"),
    ]

    def __init__(self, title: str, places: Sequence[tuple[str, str]]) -> None:
        """`title`: where the feed comes from, if not from the daemon; `places`: keys and names of all screens."""
        super().__init__()
        self._feed_title = title
        self._places = places
        self._views: list[View] | None = None

    def body(self) -> Iterable[Widget]:
        """The widgets between; those that are views are shown the store."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Status, places, body, filter, keys."""
        yield StatusBar(self._feed_title)
        yield TabBar(self._places, self.NAME)
        with Container(id="body"):
            yield from self.body()
            yield Absence(self._feed_title)
        yield FilterBar()
        yield KeyBar()

    def show(self, store: Store) -> None:
        """Show the store in every view."""
        for view in self._found_views():
            view.show(store)

    def main_table(self) -> LiveTable[Any] | None:
        """The table that filters and selections are about."""
        return next(iter(self.query(LiveTable)), None)

    def chosen_model(self) -> ModelView | None:
        """The model that keys are about here; None lets one be picked."""
        return None

    def chosen_prompt(self) -> Timeline | None:
        """The prompt that keys are about here."""
        table = self.main_table()
        row = table.row if table is not None else None
        return row if isinstance(row, Timeline) else None

    def action_filter(self) -> None:
        """Type a filter."""
        if self.main_table() is not None:
            self.query_one(FilterBar).open()

    def action_back(self) -> None:
        """Drop the filter, or go to the first place."""
        bar = self.query_one(FilterBar)
        if bar.has_class("-open"):
            bar.action_drop()
        else:
            self.app.post_message(TabBar.Chosen("overview"))

    def on_filter_bar_filtered(self, event: FilterBar.Filtered) -> None:
        """Filter the table, and go back to it when typing has ended."""
        table = self.main_table()
        if table is not None:
            table.filter = event.words
            if event.ended:
                table.focus()

    @property
    def _host(self) -> AquahostApp:
        return cast("AquahostApp", self.app)

    def _found_views(self) -> list[View]:
        if self._views is None:
            # Outermost only: a view shows its own parts itself.
            found = [widget for widget in self.query(Widget) if isinstance(widget, View)]
            inner = {id(part) for widget in found if isinstance(widget, Widget) for part in widget.query(Widget)}
            self._views = [view for view in found if id(view) not in inner]
        return self._views

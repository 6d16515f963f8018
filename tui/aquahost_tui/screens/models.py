"""The models: what each holds, does and waits for; and the keys to load, unload, park, wake and pin them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import ModelView
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.model_detail import ModelDetail
from aquahost_tui.widgets.model_table import ModelTable

_SIDE_BY_SIDE = 170
"""Columns from which the details stand beside the table."""


class ModelsScreen(TopScreen):
    """A table, and all that is known of the model under the cursor."""

    NAME = "models"
    BINDINGS: ClassVar[list[BindingType]] = [
        # The first two are the app's own; here they stand before other keys of the app.
        Binding("l", "app.load", "Load", id="models.load", tooltip="Load the model under the cursor"),
        Binding(
            "u", "app.unload", "Unload", id="models.unload", tooltip="Unload the model under the cursor; asks first"
        ),
        Binding(
            "z",
            "app.park",
            "Park/wake",
            id="models.park",
            key_display="z/w",
            tooltip="Send the model's weights away until its next prompt",
        ),
        Binding("w", "app.wake", "Wake", id="models.wake", show=False, tooltip="Bring a parked model's weights back"),
        Binding("i", "app.pin", "Pin", id="models.pin", tooltip="Never park the model, or let it be parked again"),
    ]

    def body(self) -> Iterable[Widget]:
        """Two regions."""
        table = Vertical(ModelTable("models"), id="models-box", classes="box")
        table.border_title = "models"
        detail = VerticalScroll(ModelDetail("model"), id="model-box", classes="box")
        detail.border_title = "model"
        yield Container(table, detail, id="models-body")

    def chosen_model(self) -> ModelView | None:
        """The one under the cursor."""
        row = self.query_one(ModelTable).row
        return row.view if row is not None else None

    def on_mount(self) -> None:
        """Keys go to the table."""
        self.query_one(ModelTable).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or stacked."""
        self.set_class(event.size.width >= _SIDE_BY_SIDE, "-wide")
        self.set_class(event.size.height < 32, "-low")

    def on_live_table_cursor_moved(self, event: LiveTable.CursorMoved) -> None:
        """Show the details of where the cursor is now."""
        model = self.chosen_model()
        self.query_one("#model-box").border_title = Content(model.name if model is not None else "model")
        self.query_one(ModelDetail).point_at(model.name if model is not None else None)

    def on_live_table_row_chosen(self, event: LiveTable.RowChosen) -> None:
        """Go to the details, to scroll them."""
        self.query_one("#model-box").focus()

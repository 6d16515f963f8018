"""What can be done with the prompt under the cursor, wherever one is: see it in detail, cancel it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from aquahost_tui.screens.prompts import PromptsScreen
from aquahost_tui.steered_app import SteeredApp
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.tab_bar import TabBar


class PromptKeys(SteeredApp):
    """Acts on the prompt that one is at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "cancel", "Cancel", id="app.cancel", tooltip="Cancel the prompt under the cursor; asks first"),
    ]

    def action_cancel(self) -> None:
        """Cancel the prompt under the cursor."""
        place = self.place()
        if place is None or self.screen is not place:
            return
        prompt = place.chosen_prompt()
        if prompt is None:
            self.notify("no prompt is chosen; go to one on 1 or 4", severity="warning")
        elif prompt.ended_s is not None:
            self.notify(f"prompt {prompt.view.id} has ended", severity="warning")
        else:
            view = prompt.view
            self.steer(
                lambda: self.steering.cancel(view.id),
                question=f"Cancel prompt {view.id}?",
                detail=f"{view.tenant}'s {view.kind} prompt to {view.model}. What it has produced so far stays with"
                " its client; its memory is freed at once.",
            )

    def on_live_table_row_chosen(self, event: LiveTable.RowChosen) -> None:
        """A prompt was chosen in a table: show it in detail."""
        if isinstance(event.row, Timeline):
            self.get_screen(PromptsScreen.NAME, PromptsScreen).choose(event.row.view.id)
            self.post_message(TabBar.Chosen(PromptsScreen.NAME))

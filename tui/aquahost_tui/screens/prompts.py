"""The prompts: who waits and who is computed, and one of them in every detail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.store.store import Store
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.widgets.boxes import boxed
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.prompt_facts import PromptFacts
from aquahost_tui.widgets.prompt_life import LAST_S, PromptLife
from aquahost_tui.widgets.prompt_output import PromptOutput
from aquahost_tui.widgets.queue_table import QueueTable

_LOW = 34
"""Lines from which boxes are worth their frames."""


class PromptsScreen(TopScreen):
    """The queue above; below, the life, the facts and the text of the prompt that the cursor was put on last. One that
    ends stays in view until the cursor is moved."""

    NAME = "prompts"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "ended", "Ended", id="prompts.ended", tooltip="Show prompts that ended lately too, or no longer"),
        Binding(
            "z", "zoom", "Zoom", id="prompts.zoom", tooltip=f"Show the last {LAST_S:.0f} s of its life, or all of it"
        ),
    ]

    def __init__(self, title: str, places: Iterable[tuple[str, str]]) -> None:
        super().__init__(title, list(places))
        self._chosen: str | None = None
        self._under_cursor: str | None = None
        self._wish: str | None = None

    def body(self) -> Iterable[Widget]:
        """The table, and the parts of the detail."""
        yield boxed(Vertical(QueueTable("queue"), id="prompts-box"), "prompts")
        yield boxed(Vertical(PromptLife("life"), id="life-box"), "")
        yield Horizontal(
            boxed(VerticalScroll(PromptFacts("facts"), id="facts-box", can_focus=False), "facts"),
            boxed(Vertical(PromptOutput("output"), id="output-box"), "output"),
            id="detail",
        )

    def on_mount(self) -> None:
        """Keys go to the table."""
        self.query_one(QueueTable).focus()

    def on_resize(self, event: events.Resize) -> None:
        """With frames, or without."""
        self.set_class(event.size.height < _LOW, "-low")

    # -- what is shown -----------------------------------------------------------------------------------------

    def show(self, store: Store) -> None:
        """Show the table and the chosen prompt as they are now."""
        super().show(store)
        table = self.query_one(QueueTable)
        if self._wish is not None:
            table.point_at(self._wish)
            self._chosen, self._wish = self._wish, None
            self._under_cursor = table.row.view.id if table.row else None
        self._show_chosen()

    def choose(self, prompt_id: str) -> None:
        """Put the cursor on this prompt with the next drawing."""
        self._wish = prompt_id

    def on_live_table_cursor_moved(self, event: LiveTable.CursorMoved) -> None:
        """Show another prompt, unless the cursor only moved because the one under it has ended."""
        event.stop()
        table = self.query_one(QueueTable)
        before, self._under_cursor = self._under_cursor, table.row.view.id if table.row else None
        was_moved = any(row.view.id == before for row in table.rows)
        chosen = self._timeline()
        if self._under_cursor is not None and (was_moved or chosen is None or chosen.ended_s is None):
            self._chosen = self._under_cursor
        self._show_chosen()

    def on_live_table_row_chosen(self, event: LiveTable.RowChosen) -> None:
        """Scroll through what it says."""
        event.stop()
        self._chosen = self._under_cursor
        self._show_chosen()
        self.query_one(PromptOutput).focus()

    def on_screen_suspend(self) -> None:
        """Stop to follow the prompt when another place is gone to; below a question it is followed on."""
        if self not in self.app.screen_stack:
            self.query_one(PromptOutput).leave()

    def on_screen_resume(self) -> None:
        """Follow it again."""
        self.query_one(PromptOutput).resume(self._host.steering)

    def chosen_prompt(self) -> Timeline | None:
        """The one that is shown in detail, which may have ended."""
        return self._timeline() or super().chosen_prompt()

    # -- keys --------------------------------------------------------------------------------------------------

    def action_ended(self) -> None:
        """Show prompts that ended lately too, or no longer."""
        table = self.query_one(QueueTable)
        table.with_ended = not table.with_ended
        cast(Widget, table.parent).border_title = "prompts, ended ones too" if table.with_ended else "prompts"
        table.show(self._host.store)

    def action_zoom(self) -> None:
        """Show the end of its life, or all of it."""
        self.query_one(PromptLife).turn()
        self._show_chosen()

    def action_back(self) -> None:
        """From the text back to the table, and from there as everywhere."""
        if isinstance(self.focused, PromptOutput):
            self.query_one(QueueTable).focus()
        else:
            super().action_back()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _timeline(self) -> Timeline | None:
        return self._host.store.timelines.find(self._chosen) if self._chosen is not None else None

    def _show_chosen(self) -> None:
        timeline = self._timeline()
        life = self.query_one(PromptLife)
        self.set_class(timeline is None, "-none")
        title = ""
        if timeline is not None:
            what = "its whole life" if life.is_whole else f"its last {LAST_S:.0f} s"
            title = f"{timeline.view.id} · {what}{' · ended' if timeline.ended_s is not None else ''}"
        cast(Widget, life.parent).border_title = Content(title)
        life.show_prompt(timeline)
        self.query_one(PromptFacts).show_prompt(timeline, self._host.store)
        self.query_one(PromptOutput).show_prompt(timeline, self._host.steering)

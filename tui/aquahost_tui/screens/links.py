"""The links: which GPUs reach each other, how fast, and what goes between them."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.widgets.link_detail import LinkDetail
from aquahost_tui.widgets.link_matrix import GLYPHS, LinkMatrix
from aquahost_tui.widgets.link_notes import LinkNotes
from aquahost_tui.widgets.link_traffic import LinkTraffic

_SIDE_BY_SIDE = 150
"""Columns from which the pair stands beside the matrix."""


class LinksScreen(TopScreen):
    """The matrix, the pair under its cursor, and what was refused."""

    NAME = "links"

    def body(self) -> Iterable[Widget]:
        """Three regions."""
        matrix = Vertical(LinkMatrix("matrix"), Static(_legend(), id="legend"), id="matrix-box", classes="box")
        matrix.border_title = "links: GB/s, as measured at start"
        pair = Vertical(LinkDetail("pair"), id="pair-box", classes="box")
        pair.border_title = "this pair"
        notes = VerticalScroll(LinkNotes("notes"), id="notes-box", classes="box", can_focus=False)
        notes.border_title = "verdicts"
        traffic = Vertical(LinkTraffic("traffic"), id="traffic-box", classes="box")
        traffic.border_title = "traffic now"
        yield Horizontal(Vertical(matrix, notes, id="left"), Vertical(pair, traffic, id="right"), id="below")

    def on_mount(self) -> None:
        """Keys go to the matrix."""
        self.query_one(LinkMatrix).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or stacked."""
        self.set_class(event.size.width < _SIDE_BY_SIDE, "-narrow")
        self.set_class(event.size.height < 32, "-low")

    def on_link_matrix_moved(self, message: LinkMatrix.Moved) -> None:
        """Another pair."""
        self.query_one(LinkDetail).look_at(message.pair)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing to filter."""
        return False if action == "filter" else super().check_action(action, parameters)


def _legend() -> Content:
    return Content("   ").join(
        [Content.assemble((glyph, tone.variable), (f" {words}", "$foreground-muted")) for glyph, tone, words in GLYPHS]
    )

"""The links that are refused, and what is to be known about all of them."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import Snapshot
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import Tone
from aquahost_tui.widgets.link_detail import end_name


class LinkNotes(Widget):
    """A line for each refused pair with its reason; one line where there is none."""

    DEFAULT_CSS = """
    LinkNotes { height: auto; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Content] = []

    def show(self, store: Store) -> None:
        """Show what was found."""
        lines = _notes(store.snapshot) if store.snapshot is not None else []
        if lines != self._lines:
            self._lines = lines
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As many lines as there are."""
        return max(len(self._lines), 1)

    def render(self) -> Content:
        """The lines."""
        return Content("\n").join([line.truncate(self.size.width, ellipsis=True) for line in self._lines])


def _notes(snapshot: Snapshot) -> list[Content]:
    if not snapshot.leasing:
        return [Content.styled("GPUs may not lend here (leasing.enabled is false)", Tone.WARN.variable)]
    if snapshot.lending_trouble:
        return [Content.styled(f"nothing is lent: {snapshot.lending_trouble}", Tone.BAD.variable)]
    if not snapshot.links:
        return [Content.styled("the links have not been tested yet; nothing is lent before that", Tone.DIM.variable)]
    refused: dict[tuple[int, int], str] = {}
    for link in snapshot.links:
        if not link.usable:
            refused.setdefault((min(link.source, link.target), max(link.source, link.target)), link.reason)
    if not refused:
        return [Content.styled("every link passed its test: what was written arrived", Tone.GOOD.variable)]
    return [
        Content.assemble(
            (f"✕ {end_name(one)} ↔ {end_name(other)}  ", f"bold {Tone.BAD.variable}"), (reason, Tone.BAD.variable)
        )
        for (one, other), reason in sorted(refused.items())
    ]

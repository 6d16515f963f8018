"""What goes over the links now, the most first."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost_tui.store.store import Store
from aquahost_tui.widgets.bars import sparkline
from aquahost_tui.widgets.cells import short_rate
from aquahost_tui.widgets.link_detail import end_name

_WORDS = 26
"""Columns before the sparkline."""


class LinkTraffic(Widget):
    """A line for each way with traffic, as many as there is room for; all sparklines have one scale."""

    DEFAULT_CSS = """
    LinkTraffic { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[tuple[int, int, float, tuple[float, ...]]] = []

    def show(self, store: Store) -> None:
        """Show the traffic as it is now."""
        snapshot = store.snapshot
        flows = sorted(snapshot.flows, key=lambda flow: -flow.bytes_per_s) if snapshot is not None else []
        rows = [
            (flow.source, flow.target, flow.bytes_per_s, tuple(store.pairs.between(flow.source, flow.target).last(60)))
            for flow in flows
        ]
        if rows != self._rows:
            self._rows = rows
            self.refresh()

    def render(self) -> Content:
        """The lines."""
        if not self._rows:
            return Content.styled("none: nothing is paged or read over a link", "$foreground-muted")
        width = max(min(self.size.width - _WORDS, 60), 0)
        most = max(point for *_, points in self._rows for point in (*points, 1.0))
        shown = self._rows[: max(self.size.height, 1)]
        return Content("\n").join([_line(row, width, most) for row in shown])


def _line(row: tuple[int, int, float, tuple[float, ...]], width: int, most: float) -> Content:
    source, target, rate, points = row
    return Content.assemble(
        (f"{end_name(source):>6} → {end_name(target):<6}", ""),
        (f"{short_rate(rate):>8}  ", "bold"),
        (sparkline(points, width, most), "$text-warning"),
    )

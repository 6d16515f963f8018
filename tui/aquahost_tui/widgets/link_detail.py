"""The link under the cursor: what it is, what was measured, and what goes over it."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import LinkView, Snapshot
from aquahost_tui.store.store import Store, leases_between
from aquahost_tui.widgets.bars import LEAST_RATE, sparkline
from aquahost_tui.widgets.cells import Tone, short_bytes, short_rate
from aquahost_tui.widgets.link_matrix import HOST, glyph_of


class LinkDetail(Widget):
    """Both directions, each with its verdict, its traffic now and lately; below them the leases that use the link."""

    DEFAULT_CSS = """
    LinkDetail { height: auto; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pair: tuple[int, int] | None = None
        self._store: Store | None = None
        self._lines: list[Content] = []

    def look_at(self, pair: tuple[int, int]) -> None:
        """Show another pair."""
        self._pair = pair
        if self._store is not None:
            self.show(self._store)

    def show(self, store: Store) -> None:
        """Show the pair as it is now."""
        self._store = store
        if store.snapshot is None or self._pair is None:
            return
        one, other = self._pair
        lines = [Content(f"{end_name(one)} itself; the arrow keys choose a pair")] if one == other else []
        if not lines:
            lines = [*self._direction(store, one, other), *self._direction(store, other, one)]
            lines += _leases(store.snapshot, one, other)
        if lines != self._lines:
            grows = len(lines) != len(self._lines)
            self._lines = lines
            self.refresh(layout=grows)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """As many lines as there are."""
        return max(len(self._lines), 1)

    def render(self) -> Content:
        """The lines."""
        width = self.size.width
        return Content("\n").join([line.truncate(width, ellipsis=True) for line in self._lines])

    def _direction(self, store: Store, source: int, target: int) -> list[Content]:
        assert store.snapshot is not None, "shown with a snapshot"
        link = next((one for one in store.snapshot.links if (one.source, one.target) == (source, target)), None)
        series = store.pairs.between(source, target)
        width = max(min(self.size.width - 16, 60), 8)
        points = series.last(width)
        flows = store.snapshot.flows
        now = next((flow.bytes_per_s for flow in flows if (flow.source, flow.target) == (source, target)), 0.0)
        rate = Content.styled(f"{short_rate(now) if now else '–':>9} ", "bold")
        spark = sparkline(points, width, max([*points, LEAST_RATE]))
        return [
            Content.assemble((f"{end_name(source)} → {end_name(target)}  ", "bold $text-primary"), _verdict(link)),
            Content.assemble(("  now ", "$foreground-muted"), rate, (spark, "$text-warning")),
        ]


def end_name(end: int) -> str:
    """ "GPU 3", or "host"."""
    return "host" if end == HOST else f"GPU {end}"


def _verdict(link: LinkView | None) -> Content:
    if link is None:
        return Content.styled("not tested", "$foreground-muted")
    glyph, tone = glyph_of(link)
    if not link.usable:
        return Content.assemble((f"{glyph} refused: {link.reason}", Tone.BAD.variable))
    return Content.assemble(
        (f"{glyph} {link.reason}  ", tone.variable),
        (f"{link.bytes_per_s / 1e9:.1f} GB/s" if link.bytes_per_s else "not measured", "bold"),
    )


def _leases(snapshot: Snapshot, one: int, other: int) -> list[Content]:
    found = leases_between(snapshot)
    return [
        Content.assemble(
            ("  lease ", "$foreground-muted"),
            f"{lease.id}: {end_name(lease.donor)} lends ",
            (short_bytes(lease.nbytes), "bold $text-warning"),
            f" to {lease.borrower}, {lease.state}",
        )
        for pair in ((one, other), (other, one))
        for lease in found.get(pair, [])
    ]

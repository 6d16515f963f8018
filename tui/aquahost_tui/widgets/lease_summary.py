"""How much is lent, by whom and to whom; or why nothing is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import LeaseView, Snapshot
from aquahost.units import format_bytes
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import short_bytes


class LeaseSummary(Widget):
    """Two lines."""

    DEFAULT_CSS = """
    LeaseSummary { height: 2; padding: 0 2; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Content] = []

    def show(self, store: Store) -> None:
        """Show how things stand now."""
        if store.snapshot is None:
            return
        lines = _lines(store, store.snapshot)
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render(self) -> Content:
        """Both lines, cut where they are too long; a single one is wrapped."""
        if len(self._lines) == 1:
            return self._lines[0]
        width = self.content_size.width
        return Content("\n").join(line.truncate(width, ellipsis=True) for line in self._lines)


def _lines(store: Store, snapshot: Snapshot) -> list[Content]:
    leases = snapshot.leases
    if not leases:
        words, style = why_none(snapshot)
        return [Content.assemble(("nothing is lent", "bold"), ": ", (words, style))]
    recalled = sum(lease.recalled_bytes for lease in leases)
    count = "1 lease" if len(leases) == 1 else f"{len(leases)} leases"
    head = Content.assemble(
        (f"{format_bytes(sum(lease.nbytes for lease in leases))} lent", "bold $text-warning"),
        (f" in {count}", "$foreground-muted"),
    )
    if recalled:
        head = Content.assemble(head, (f", {short_bytes(recalled)} of it wanted back", "$text-warning"))
    if late := [lease for lease in leases if lease.deadline_in_s is not None and lease.deadline_in_s < 0]:
        head = Content.assemble(head, "  ", (f" {len(late)} LATE ", "bold $background on $error"))
    if store.leases.ended:
        head = Content.assemble(head, (f"; {len(store.leases.ended)} ended lately", "$foreground-muted"))
    ends = Content.assemble(
        ("by ", "$foreground-muted"),
        _sums(leases, lambda lease: f"GPU {lease.donor}"),
        ("   to ", "$foreground-muted"),
        _sums(leases, lambda lease: lease.borrower),
    )
    return [head, ends]


def _sums(leases: Iterable[LeaseView], name: Callable[[LeaseView], str]) -> Content:
    """Bytes by name, the largest first."""
    sums: dict[str, int] = {}
    for lease in leases:
        sums[name(lease)] = sums.get(name(lease), 0) + lease.nbytes
    pieces = [
        Content.assemble(f"{who} ", (short_bytes(nbytes), "bold"))
        for who, nbytes in sorted(sums.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Content("  ").join(pieces)


def why_none(snapshot: Snapshot) -> tuple[str, str]:
    """What keeps GPUs from lending, in words, and the style to say it in."""
    if not snapshot.leasing:
        return "leasing.enabled is false in models.yaml", "$text-warning"
    if snapshot.lending_trouble is not None:
        return f"the links between GPUs could not be tested: {snapshot.lending_trouble}", "$text-error"
    if len(snapshot.gpus) < 2:
        return "there is no second GPU; host.partition makes several of a large one", "$text-warning"
    if not any(link.usable for link in snapshot.links if min(link.source, link.target) >= 0):
        return "no GPU can use another's memory; aquahost doctor says why", "$text-error"
    return "no model needs more memory than its GPU has, or no GPU has any to spare", "$foreground-muted"

"""Who lends to whom: a matrix of GPUs, donors down, borrowers across."""

from __future__ import annotations

from collections.abc import Collection

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from aquahost.messages.snapshot import LeaseState, Snapshot
from aquahost_tui.store.store import Store, flow_between, leases_between
from aquahost_tui.widgets.cells import short_bytes, short_rate

_FLASHES = {
    LeaseState.GRANTED: "bold $background on $success",
    LeaseState.RECALLING: "bold $background on $warning",
    LeaseState.RETURNED: "bold $background on $accent",
}
_NARROW, _WIDE = 5, 12
_HEAD = 4
_LEAST_LINES = 4

Cells = dict[tuple[int, int], tuple[int, float, LeaseState | None]]
"""Bytes, bytes a second and what flashes, by donor and borrower."""


class LeaseMap(Widget):
    """Bytes of each pair's leases, with their traffic where there is room; flashes when one is granted or recalled.

    Where not all GPUs fit, it shows only donors and borrowers, and says how many are left out.
    """

    DEFAULT_CSS = """
    LeaseMap { height: auto; }
    """

    def __init__(self, id: str | None = None, *, share: float) -> None:
        """`share`: how much of the terminal's height it may take."""
        super().__init__(id=id)
        self._share = share
        self._gpus: list[int] = []
        self._cells: Cells = {}

    def show(self, store: Store) -> None:
        """Show the leases as they are now."""
        snapshot = store.snapshot
        if snapshot is None:
            return
        gpus = [gpu.index for gpu in snapshot.gpus]
        cells = _cells(store, snapshot, gpus)
        if gpus != self._gpus or cells.keys() != self._cells.keys():
            self._gpus, self._cells = gpus, cells
            self.refresh(layout=True)
        elif cells != self._cells:
            self._cells = cells
            self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """A line for each donor, one above, and one below where some are left out."""
        donors, _, left_out = self._shown(width)
        return max(len(donors) + bool(donors) + bool(left_out), 1)

    def render(self) -> Content:
        """The matrix; a dot where nothing is lent."""
        width = self.size.width
        donors, borrowers, left_out = self._shown(width)
        each = (width - _HEAD) // max(len(borrowers), 1)
        wide = each >= _WIDE
        each = min(each, _WIDE + 2) if wide else min(each, 8)
        lines = []
        if donors:
            heads = "".join(f"{f'→{gpu}':>{each}}" for gpu in borrowers)
            lines.append(Content.styled(f"from{heads}", "$foreground-muted"))
        for donor in donors:
            parts: list[Content] = [Content.styled(f"{donor:>2}  ", "$foreground-muted")]
            parts += [self._cell(donor, borrower, each, wide=wide) for borrower in borrowers]
            lines.append(Content.assemble(*parts))
        if left_out:
            lines.append(Content.styled(left_out, "$foreground-muted"))
        return Content("\n").join(line.truncate(width, ellipsis=True) for line in lines)

    def _shown(self, width: int) -> tuple[list[int], list[int], str]:
        """Donors and borrowers that are shown, and words about the others."""
        columns = max((width - _HEAD) // _NARROW, 1)
        rows = max(int(self.app.size.height * self._share), _LEAST_LINES) - 1
        if len(self._gpus) <= min(rows, columns):
            return self._gpus, self._gpus, ""
        lent: dict[int, int] = {}
        borrowed: dict[int, int] = {}
        for (donor, borrower), (nbytes, _, _) in self._cells.items():
            lent[donor] = lent.get(donor, 0) + nbytes
            borrowed[borrower] = borrowed.get(borrower, 0) + nbytes
        donors, borrowers = _largest(lent, rows - 1), _largest(borrowed, columns)
        return donors, borrowers, self._left_out(lent, borrowed, donors, borrowers)

    def _left_out(
        self, lent: Collection[int], borrowed: Collection[int], donors: Collection[int], borrowers: Collection[int]
    ) -> str:
        idle = len(self._gpus) - len({*lent, *borrowed})
        words = [f"{idle} of {len(self._gpus)} GPUs neither lend nor borrow"] if idle else []
        if len(donors) < len(lent):
            words.append(f"{len(lent) - len(donors)} more lend")
        if len(borrowers) < len(borrowed):
            words.append(f"{len(borrowed) - len(borrowers)} more borrow")
        return ", ".join(words)

    def _cell(self, donor: int, borrower: int, width: int, *, wide: bool) -> Content:
        if donor == borrower:
            return Content.styled("╲".rjust(width), "$foreground-disabled")
        nbytes, rate, flash = self._cells.get((donor, borrower), (0, 0.0, None))
        if not nbytes and flash is None:
            return Content.styled("·".rjust(width), "$foreground-disabled")
        text = short_bytes(nbytes)
        if wide and rate > 0:
            text += f" {short_rate(rate)}"
        style = _FLASHES[flash] if flash is not None else ("bold $text-warning" if rate > 0 else "$text-warning")
        return Content.assemble(" " * max(width - len(text), 0), (text[-width:], style))


def _largest(sums: dict[int, int], count: int) -> list[int]:
    """The GPUs with most bytes, in the order of their numbers."""
    return sorted(sorted(sums, key=lambda gpu: (-sums[gpu], gpu))[:count])


def _cells(store: Store, snapshot: Snapshot, gpus: list[int]) -> Cells:
    leases = leases_between(snapshot)
    cells: Cells = {}
    for donor in gpus:
        for borrower in gpus:
            held = leases.get((donor, borrower), [])
            flash = store.leases.flash(donor, borrower, store.at_s)
            if held or flash is not None:
                nbytes = sum(lease.nbytes for lease in held)
                cells[donor, borrower] = (nbytes, flow_between(snapshot, donor, borrower), flash)
    return cells

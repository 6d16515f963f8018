"""Who lends to whom: a matrix of GPUs, donors down, borrowers across."""

from __future__ import annotations

from textual.content import Content
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


class LeaseMap(Widget):
    """Bytes of each pair's leases, with their traffic where there is room; flashes when one is granted or recalled."""

    DEFAULT_CSS = """
    LeaseMap { height: auto; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._gpus: list[int] = []
        self._cells: dict[tuple[int, int], tuple[int, float, LeaseState | None]] = {}

    def show(self, store: Store) -> None:
        """Show the leases as they are now."""
        snapshot = store.snapshot
        if snapshot is None:
            return
        gpus = [gpu.index for gpu in snapshot.gpus]
        cells = _cells(store, snapshot, gpus)
        if gpus != self._gpus:
            self._gpus = gpus
            self.refresh(layout=True)
        if cells != self._cells:
            self._cells = cells
            self.refresh()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """A line for each GPU, and one above."""
        return max(len(self._gpus), 1) + 1

    def render(self) -> Content:
        """The matrix; a dot where nothing is lent."""
        if not self._gpus:
            return Content("")
        each = (self.size.width - _HEAD) // len(self._gpus)
        wide = each >= _WIDE
        each = min(each, _WIDE + 2) if wide else max(min(each, 8), _NARROW)
        lines = [Content.styled("from" + "".join(f"{f'→{gpu}':>{each}}" for gpu in self._gpus), "$foreground-muted")]
        for donor in self._gpus:
            parts: list[Content] = [Content.styled(f"{donor:>2}  ", "$foreground-muted")]
            parts += [self._cell(donor, borrower, each, wide=wide) for borrower in self._gpus]
            lines.append(Content.assemble(*parts).truncate(self.size.width))
        return Content("\n").join(lines)

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


def _cells(
    store: Store, snapshot: Snapshot, gpus: list[int]
) -> dict[tuple[int, int], tuple[int, float, LeaseState | None]]:
    leases = leases_between(snapshot)
    cells = {}
    for donor in gpus:
        for borrower in gpus:
            held = leases.get((donor, borrower), [])
            flash = store.leases.flash(donor, borrower, store.at_s)
            if held or flash is not None:
                nbytes = sum(lease.nbytes for lease in held)
                cells[donor, borrower] = (nbytes, flow_between(snapshot, donor, borrower), flash)
    return cells

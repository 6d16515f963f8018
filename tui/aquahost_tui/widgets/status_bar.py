"""The first line of every screen: which daemon this is, how it does, and whether it can be reached."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import Snapshot
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import short_bytes, short_count, short_seconds


class StatusBar(Widget):
    """Driver, totals and times to first token, as far as the width allows; the most important come first."""

    DEFAULT_CSS = """
    StatusBar { height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self, title: str) -> None:
        """`title`: where the feed comes from, if not from the daemon."""
        super().__init__()
        self._title = title
        self._pieces: list[Content] = []

    def show(self, store: Store) -> None:
        """Show totals as they are now."""
        pieces = _pieces(store, self._title)
        if pieces != self._pieces:
            self._pieces = pieces
            self.refresh()

    def render(self) -> Content:
        """As many of the pieces as fit."""
        line, gap = Content(" "), Content.styled("  ", "")
        for piece in self._pieces:
            if line.cell_length + gap.cell_length + piece.cell_length > self.size.width and line.cell_length > 1:
                continue
            line = line + (gap if line.cell_length > 1 else Content("")) + piece
        return line.truncate(self.size.width, ellipsis=True)


def _pieces(store: Store, title: str) -> list[Content]:
    pieces = [Content.styled("aquahost", "bold $text-primary")]
    snapshot = store.snapshot
    if snapshot is not None and snapshot.driver in ("emulated", "simulated"):
        pieces.append(Content.styled(f" {snapshot.driver.upper()} ", "bold $background on $warning"))
    elif snapshot is not None:
        pieces.append(_pair("driver", snapshot.driver))
    if store.trouble is not None:
        words = " no daemon " if snapshot is None else " reconnecting "
        pieces.append(Content.styled(words, "bold $background on $error"))
    if store.paused:
        pieces.append(Content.styled(" PAUSED ", "bold $background on $accent"))
    if title:
        pieces.append(Content.styled(title, "$text-accent"))
    if store.ended:
        pieces.append(Content.styled(" ENDED ", "bold $background on $accent"))
    if snapshot is not None:
        pieces += _totals(store, snapshot)
    return pieces


def _totals(store: Store, snapshot: Snapshot) -> list[Content]:
    totals, first = store.totals(), snapshot.first_tokens
    parts = ((totals.running, "run"), (totals.suspended, "paged"), (totals.waiting, "wait"))
    states = " ".join(f"{count} {words}" for count, words in parts if count)
    used = f"{totals.prompts}: {states}" if states else "0"
    pieces = [_pair("prompts", used), _pair("tok/s", short_count(totals.tokens_per_s))]
    if first.p50_s is not None and first.p99_s is not None:
        pieces.append(_pair("TTFT", f"p50 {short_seconds(first.p50_s)} p99 {short_seconds(first.p99_s)}"))
    pieces += [
        _pair("lent", short_bytes(totals.lent_bytes)),
        _pair("models", f"{totals.ready}/{totals.models}"),
        _pair("GPUs", str(len(snapshot.gpus))),
        _pair("up", short_seconds(snapshot.uptime_s)),
    ]
    if snapshot.draining:
        pieces.insert(0, Content.styled(" DRAINING ", "bold $background on $warning"))
    return pieces


def _pair(name: str, value: str) -> Content:
    return Content.assemble((f"{name} ", "$foreground-muted"), (value, "bold"))

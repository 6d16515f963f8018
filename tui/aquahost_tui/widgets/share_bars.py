"""Device time as stacked bars, one above the other: as weights would divide it, and as it was divided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual.content import Content
from textual.widget import Widget

from aquahost_tui.store.store import Store
from aquahost_tui.store.tenant_shares import OVER_S, Share
from aquahost_tui.widgets.bars import divide
from aquahost_tui.widgets.table_rows import fit
from aquahost_tui.widgets.tenant_table import UNFAIR, share_tone

_LABEL = 13
_COLOURS = ("$primary", "$success", "$accent", "$secondary")
"""Of tenants in turn, in alphabetical order: a tenant keeps its colour when it has no prompts for a while."""
_MOST = 8
"""Tenants that get a part of their own; those with smaller shares are put together."""


class ShareBars(Widget):
    """Where the ends of parts stand one below the other, all have what they deserve."""

    DEFAULT_CSS = """
    ShareBars { height: 4; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shares: Mapping[str, Share] = {}

    def show(self, store: Store) -> None:
        """Show the shares as they are now."""
        shares = store.tenants.shares()
        if shares != self._shares:
            self._shares = shares
            self.refresh()

    def render(self) -> Content:
        """Three bars and a verdict."""
        width = self.size.width
        names = _shown(self._shares)
        rows: list[tuple[str, Callable[[Share], float], str]] = [
            ("by weight", lambda share: share.deserved, "no tenant has live prompts"),
            (f"last {OVER_S:.0f} s", lambda share: share.had, "no device time was used"),
            ("since start", lambda share: share.since_start, "no device time was used"),
        ]
        lines = [
            Content.assemble((f"{label:<{_LABEL}}", "$foreground-muted"), self._bar(names, of, width - _LABEL, none))
            for label, of, none in rows
        ]
        return Content("\n").join([*lines, Content.assemble(" " * _LABEL, verdict(self._shares)).truncate(width)])

    def _bar(self, names: Sequence[str], of: Callable[[Share], float], width: int, none: str) -> Content:
        shares = [of(self._shares[name]) for name in names]
        rest = sum(of(share) for name, share in self._shares.items() if name not in names)
        if sum(shares) + rest <= 0:
            return Content.styled(none, "$foreground-muted")
        cells = divide([round(share * 1e6) for share in [*shares, rest]], width)
        colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(sorted(self._shares))}
        drawn = []
        for name, share, count in zip([*names, ""], [*shares, rest], cells, strict=True):
            colour = colours.get(name, "$foreground-muted")
            drawn.append((_inside(name or "others", share, count), f"bold auto on {colour}"))
        return Content.assemble(*drawn)


def _inside(name: str, share: float, width: int) -> str:
    """Name and share as far as there is room: the share alone rather than half a name."""
    percent = f"{share * 100:.0f}%"
    if len(name) + len(percent) + 3 <= width:
        return fit(f" {name} {percent}", width)
    return fit(f" {percent}", width) if len(percent) + 2 <= width else " " * width


def _shown(shares: Mapping[str, Share]) -> list[str]:
    """Names that get a part of their own: those with the largest shares, in alphabetical order."""

    def largest(name: str) -> float:
        share = shares[name]
        return max(share.deserved, share.had, share.since_start)

    able = sorted((name for name in shares if largest(name) > 0), key=largest, reverse=True)
    # Who deserves nothing comes last, so that it does not push the others' parts out of line.
    return sorted(able[:_MOST], key=lambda name: (not shares[name].deserved, name))


def verdict(shares: Mapping[str, Share]) -> Content:
    """Who had most too little, if anybody had."""
    if not any(share.had for share in shares.values()):
        return Content("")
    name, share = min(shares.items(), key=lambda item: item[1].surplus)
    if share.surplus >= -UNFAIR:
        return Content.styled("all have had what their weights give them of each model's time", "$text-success")
    style = share_tone(share).variable
    return Content.assemble(
        (name, f"bold {style}"),
        (f" had {share.had * 100:.0f}%, where its weight gives it {share.deserved * 100:.0f}%", style),
    )

"""All tenants as a table."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.messages.snapshot import TenantView
from aquahost_tui.store.store import Store
from aquahost_tui.store.tenant_shares import Share
from aquahost_tui.widgets.cells import NONE, Cell, Tone, short_count, short_seconds
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.loading import progress_bar
from aquahost_tui.widgets.table_rows import Column

UNFAIR = 0.05
"""A share that is further than this from what is deserved stands out."""
_VERY_UNFAIR = 0.15
_BULLET = 22


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant, its share of device time, and its rate."""

    view: TenantView
    share: Share
    tokens_per_s: float


class TenantTable(LiveTable[TenantRow]):
    """Every tenant, by name."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            _COLUMNS,
            key=lambda row: row.view.name,
            text=lambda row: row.view.name,
            sort_by="TENANT",
            empty="no tenants so far",
            id=id,
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing more to tell of a tenant than its row does."""
        return action != "choose"

    def show(self, store: Store) -> None:
        """Show all tenants as they are now."""
        if store.snapshot is not None:
            shares = store.tenants.shares()
            self.show_rows(
                [
                    TenantRow(view, shares[view.name], store.tenants.tokens_per_s(view.name))
                    for view in store.snapshot.tenants
                ]
            )


def _percent(share: float, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(f"{share * 100:.0f}%", tone) if share > 0 else NONE


def _count(count: float, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(short_count(count), tone) if count else NONE


def share_tone(share: Share) -> Tone:
    """Who had far too little stands out more than who had too much."""
    if share.surplus < -_VERY_UNFAIR:
        return Tone.BAD
    return Tone.WARN if abs(share.surplus) > UNFAIR else Tone.GOOD


def _bullet(row: TenantRow) -> Cell:
    """What it had as a bar, with a stroke where what it deserves ends."""
    share = row.share
    if not share.had and not share.deserved:
        return Cell("·" * _BULLET, Tone.DIM)
    bar = progress_bar(share.had, _BULLET)
    at = min(round(share.deserved * _BULLET), _BULLET - 1)
    return Cell(bar[:at] + "┃" + bar[at + 1 :], share_tone(row.share))


def _surplus(row: TenantRow) -> Cell:
    if not row.share.had and not row.share.deserved:
        return NONE
    points = round(row.share.surplus * 100)
    return Cell(f"{points:+d}" if points else "±0", share_tone(row.share))


_COLUMNS: tuple[Column[TenantRow], ...] = (
    Column(title="TENANT", width=10, cell=lambda row: Cell(row.view.name), sort=lambda row: row.view.name, grows=True),
    Column(title="WEIGHT", width=7, cell=lambda row: Cell(f"{row.view.weight:g}"), sort=lambda row: row.view.weight,
           right=True, grows=True),
    Column(title="DESERVES", width=9, cell=lambda row: _percent(row.share.deserved),
           sort=lambda row: row.share.deserved, right=True, grows=True),
    Column(title="HAD 30 s", width=9, cell=lambda row: _percent(row.share.had), sort=lambda row: row.share.had,
           right=True, grows=True),
    Column(title="+/-", width=4, cell=_surplus, sort=lambda row: row.share.surplus, right=True),
    Column(title="HAD ┃ DESERVED", width=_BULLET, cell=_bullet, sort=lambda row: row.share.had, drop=3),
    Column(title="EVER", width=5, cell=lambda row: _percent(row.share.since_start),
           sort=lambda row: row.share.since_start, right=True, drop=2, grows=True),
    Column(title="SERVICE", width=8, cell=lambda row: Cell(short_seconds(row.view.service_s)),
           sort=lambda row: row.view.service_s, right=True, drop=1, grows=True),
    Column(title="LIVE", width=6, cell=lambda row: _count(row.view.live), sort=lambda row: row.view.live,
           right=True, grows=True),
    Column(title="WAITING", width=8, cell=lambda row: _count(row.view.waiting, Tone.WARN),
           sort=lambda row: row.view.waiting, right=True, grows=True),
    Column(title="TOKENS", width=7, cell=lambda row: _count(row.view.output_tokens),
           sort=lambda row: row.view.output_tokens, right=True, drop=4, grows=True),
    Column(title="TOK/S", width=6, cell=lambda row: _count(row.tokens_per_s), sort=lambda row: row.tokens_per_s,
           right=True, grows=True),
)  # fmt: skip

"""Live leases, and below them those that ended, as one table."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.messages.snapshot import LeaseState, Snapshot
from aquahost_tui.store.lease_history import LeaseRecord
from aquahost_tui.store.store import Store, flow_between
from aquahost_tui.widgets.cells import LEASE_TONES, NONE, Cell, Tone, short_bytes, short_rate, short_seconds
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.table_rows import Column


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """One lease, with what only the store or other parts of the snapshot tell."""

    record: LeaseRecord
    donor_models: str
    """Models that live on the donor now."""
    bytes_per_s: float
    """Of its pair of GPUs, both directions and all leases together; 0 once it has ended."""
    ended_ago_s: float | None

    @property
    def is_live(self) -> bool:
        """Whether it still holds memory."""
        return self.ended_ago_s is None

    @property
    def state(self) -> str:
        """Its state, or how an ended one went."""
        if self.is_live or self.record.view.state is LeaseState.LOST:
            return str(self.record.view.state)
        return "recalled" if self.record.recalled_s is not None else "ended"


class LeaseTable(LiveTable[LeaseRow]):
    """Live leases first, then the last ones that ended."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            _COLUMNS,
            key=lambda row: row.record.view.id,
            text=_text,
            sort_by="DUE/ENDED",
            empty="no leases so far",
            id=id,
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is nothing more to tell of a lease than its row does."""
        return action != "choose"

    def show(self, store: Store) -> None:
        """Show those that are live now, and those that ended lately."""
        snapshot = store.snapshot
        if snapshot is not None:
            live = [_row(store, snapshot, record) for record in store.leases.live.values()]
            ended = [_row(store, snapshot, record) for record in reversed(store.leases.ended)]
            self.show_rows(live + ended)


def _row(store: Store, snapshot: Snapshot, record: LeaseRecord) -> LeaseRow:
    view = record.view
    ended_ago_s = None if record.ended_s is None else store.at_s - record.ended_s
    models = [model.name for model in snapshot.models if model.gpu == view.donor]
    rate = flow_between(snapshot, view.donor, view.borrower_gpu) if ended_ago_s is None else 0.0
    return LeaseRow(record, ", ".join(models), rate, ended_ago_s)


def _text(row: LeaseRow) -> str:
    view = row.record.view
    ended = "live" if row.is_live else "ended"
    return f"{view.id} gpu {view.donor} {row.donor_models} {view.borrower} gpu {view.borrower_gpu} {row.state} {ended}"


def _plain(row: LeaseRow, text: str) -> Cell:
    return Cell(text, Tone.PLAIN if row.is_live else Tone.DIM)


def _donor(row: LeaseRow) -> Cell:
    models = f" {row.donor_models}" if row.donor_models else ""
    return _plain(row, f"GPU {row.record.view.donor}{models}")


def _borrower(row: LeaseRow) -> Cell:
    view = row.record.view
    return _plain(row, f"GPU {view.borrower_gpu} {view.borrower}")


def _now(row: LeaseRow) -> Cell:
    return Cell(short_bytes(row.record.view.nbytes), Tone.WARN) if row.is_live else NONE


def _state(row: LeaseRow) -> Cell:
    is_lost = row.record.view.state is LeaseState.LOST
    return Cell(row.state, LEASE_TONES[row.record.view.state] if row.is_live or is_lost else Tone.DIM)


def _recalled(row: LeaseRow) -> Cell:
    nbytes = row.record.view.recalled_bytes
    return Cell(short_bytes(nbytes), Tone.WARN if row.is_live else Tone.DIM) if nbytes else NONE


def _when(row: LeaseRow) -> Cell:
    if row.ended_ago_s is not None:
        return Cell(f"{short_seconds(row.ended_ago_s)} ago", Tone.DIM)
    due_s = row.record.view.deadline_in_s
    if due_s is None:
        return NONE
    return Cell(f"due in {due_s:.1f} s", Tone.WARN) if due_s >= 0 else Cell(f"LATE {-due_s:.1f} s", Tone.BAD)


def _urgency(row: LeaseRow) -> tuple[int, float]:
    """What is due soonest first, then all that is live, then what ended last."""
    if row.ended_ago_s is not None:
        return 2, row.ended_ago_s
    due_s = row.record.view.deadline_in_s
    return (1, float(row.record.view.id)) if due_s is None else (0, due_s)


def _rate(row: LeaseRow) -> Cell:
    return Cell(short_rate(row.bytes_per_s)) if row.bytes_per_s else NONE


_COLUMNS: tuple[Column[LeaseRow], ...] = (
    Column(title="ID", width=5, cell=lambda row: _plain(row, str(row.record.view.id)),
           sort=lambda row: row.record.view.id, right=True),
    Column(title="DONOR", width=12, cell=_donor, sort=lambda row: row.record.view.donor, grows=True),
    Column(title="BORROWER", width=12, cell=_borrower,
           sort=lambda row: (row.record.view.borrower_gpu, row.record.view.borrower), grows=True),
    Column(title="NOW", width=5, cell=_now, right=True, grows=True,
           sort=lambda row: row.record.view.nbytes if row.is_live else None),
    Column(title="MOST", width=6, cell=lambda row: _plain(row, short_bytes(row.record.most_bytes)),
           sort=lambda row: row.record.most_bytes, right=True, drop=3, grows=True),
    Column(title="STATE", width=9, cell=_state, sort=lambda row: row.state),
    Column(title="HELD", width=6, cell=lambda row: _plain(row, short_seconds(row.record.held_s)),
           sort=lambda row: row.record.held_s, right=True, grows=True),
    Column(title="RECALLED", width=9, cell=_recalled,
           sort=lambda row: row.record.view.recalled_bytes, right=True, drop=4, grows=True),
    Column(title="TRAFFIC", width=8, cell=_rate, sort=lambda row: row.bytes_per_s, right=True, drop=1, grows=True),
    Column(title="DUE/ENDED", width=12, cell=_when, sort=_urgency, right=True, grows=True),
)  # fmt: skip

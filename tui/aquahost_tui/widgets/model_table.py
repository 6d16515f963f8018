"""All models as a table."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.messages.wire import EngineStats
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import NONE, Cell, Tone, short_bytes, short_count, short_seconds
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.loading import load_share, progress_bar
from aquahost_tui.widgets.model_state import state_tone, state_words
from aquahost_tui.widgets.table_rows import Column

_BAR = 9
"""Cells of a load's bar in the column of states."""
_FULL = 0.9
"""Of the longest queue, from which it counts as nearly full."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model, with what only the store or other parts of the snapshot tell."""

    view: ModelView
    tokens_per_s: float
    lent_bytes: int
    """What its GPU lends."""

    @property
    def stats(self) -> EngineStats:
        """Its engine's figures; all 0 where there are none."""
        return self.view.stats or EngineStats()


class ModelTable(LiveTable[ModelRow]):
    """Every configured model, by name."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            _COLUMNS,
            key=lambda row: row.view.name,
            text=_text,
            sort_by="MODEL",
            empty="no models; they are configured in models.yaml",
            id=id,
        )

    def show(self, store: Store) -> None:
        """Show all models as they are now."""
        snapshot = store.snapshot
        if snapshot is None:
            return
        lent = {gpu.index: gpu.lent_bytes for gpu in snapshot.gpus}
        self.show_rows(
            [
                ModelRow(model, store.tokens_per_s(model.name), 0 if model.gpu is None else lent.get(model.gpu, 0))
                for model in snapshot.models
            ]
        )


def _text(row: ModelRow) -> str:
    model = row.view
    return f"{model.name} {model.kind} {state_words(model)} {'pinned' if model.pinned else ''} {model.source}"


def _state(row: ModelRow) -> Cell:
    model = row.view
    share = load_share(model.load) if model.state is ModelState.LOADING else None
    if share is not None:
        return Cell(f"{progress_bar(share, _BAR)} {share * 100:>3.0f}%", Tone.BUSY)
    if model.state is ModelState.LOADING and model.load is not None:
        return Cell(model.load.stage, Tone.BUSY)
    return Cell(state_words(model), state_tone(model))


def _gpu(row: ModelRow) -> Cell:
    return NONE if row.view.gpu is None else Cell(str(row.view.gpu))


def _size(nbytes: int, tone: Tone = Tone.PLAIN) -> Cell:
    return Cell(short_bytes(nbytes), tone) if nbytes else NONE


def _weights(row: ModelRow) -> Cell:
    return _size(row.stats.weights_bytes)


def _kv(row: ModelRow) -> Cell:
    used, own = row.stats.kv_used_bytes, row.stats.kv_bytes
    if not used and not own:
        return NONE
    # Beyond its own memory, what is in use lies with neighbours or the host.
    return Cell(f"{short_bytes(used)}/{short_bytes(own)}", Tone.ACCENT if used > own else Tone.PLAIN)


def _queue(row: ModelRow) -> Cell:
    queue, most = row.view.queue, row.view.max_queue
    tone = (
        Tone.DIM if not queue else (Tone.BAD if queue >= most else Tone.WARN if queue >= most * _FULL else Tone.PLAIN)
    )
    return Cell(f"{queue}/{most}", tone)


def _rate(row: ModelRow) -> Cell:
    return Cell(short_count(row.tokens_per_s)) if row.tokens_per_s else NONE


def _slice(row: ModelRow) -> Cell:
    return Cell(short_seconds(row.stats.slice_s)) if row.stats.slice_s else NONE


def _restarts(row: ModelRow) -> Cell:
    return Cell(str(row.view.restarts), Tone.BAD) if row.view.restarts else Cell("0", Tone.DIM)


def _up(row: ModelRow) -> Cell:
    return Cell(short_seconds(row.view.ready_for_s)) if row.view.ready_for_s is not None else NONE


_COLUMNS: tuple[Column[ModelRow], ...] = (
    Column(title="MODEL", width=10, cell=lambda row: Cell(row.view.name), sort=lambda row: row.view.name, grows=True),
    Column(title="KIND", width=5, cell=lambda row: Cell(row.view.kind, Tone.DIM),
           sort=lambda row: row.view.kind, drop=4),
    Column(title="STATE", width=14, cell=_state, sort=lambda row: (row.view.state, state_words(row.view))),
    Column(title="GPU", width=4, cell=_gpu, sort=lambda row: row.view.gpu, right=True),
    Column(title="WEIGHTS", width=8, cell=_weights, sort=lambda row: row.stats.weights_bytes, right=True),
    Column(title="KV USED/OWN", width=12, cell=_kv, sort=lambda row: row.stats.kv_used_bytes, right=True, drop=1),
    Column(title="BORROWS", width=8, cell=lambda row: _size(row.stats.borrowed_bytes, Tone.ACCENT),
           sort=lambda row: row.stats.borrowed_bytes, right=True, drop=2),
    Column(title="GPU LENDS", width=10, cell=lambda row: _size(row.lent_bytes, Tone.WARN),
           sort=lambda row: row.lent_bytes, right=True, drop=5),
    Column(title="QUEUE", width=8, cell=_queue, sort=lambda row: row.view.queue, right=True),
    Column(title="TOK/S", width=6, cell=_rate, sort=lambda row: row.tokens_per_s, right=True),
    Column(title="SLICE", width=6, cell=_slice, sort=lambda row: row.stats.slice_s, right=True, drop=6),
    Column(title="RESTARTS", width=9, cell=_restarts, sort=lambda row: row.view.restarts, right=True, drop=7),
    Column(title="UP", width=6, cell=_up, sort=lambda row: row.view.ready_for_s, right=True, drop=3),
)  # fmt: skip

"""The live prompts as a table."""

from __future__ import annotations

from aquahost.messages.words import state_words
from aquahost_tui.store.store import Store
from aquahost_tui.store.timelines import Timeline
from aquahost_tui.widgets.cells import NONE, PROMPT_TONES, Cell, Tone, short_seconds
from aquahost_tui.widgets.live_table import LiveTable
from aquahost_tui.widgets.table_rows import Column


class QueueTable(LiveTable[Timeline]):
    """Every live prompt, who waits longest last."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            _COLUMNS,
            key=lambda row: row.view.id,
            text=_text,
            sort_by="AGE",
            descending=True,
            empty="no prompts; send one with t, or: aquahost run MODEL",
            id=id,
        )
        self.with_ended = False
        """Whether those that ended lately are shown too."""

    def show(self, store: Store) -> None:
        """Show those that are live now, and the others if they are asked for."""
        ended = store.timelines.ended if self.with_ended else ()
        self.show_rows([*store.timelines.live.values(), *ended])


def _text(row: Timeline) -> str:
    view = row.view
    return f"{view.id} {view.tenant} {view.model} {view.kind} {_state(row).text}"


def _state(row: Timeline) -> Cell:
    if row.ended_s is not None:
        return Cell("ended", Tone.DIM)
    words = state_words(row.view.state, row.view.place)
    if ", " in row.view.place:  # several places are told in few letters: "paged→2,6,host"
        words = words.replace(" to GPU ", "→").replace(" to ", "→").replace(", GPU ", ",").replace(", ", ",")
    return Cell(words, PROMPT_TONES[row.view.state])


def _done(row: Timeline) -> Cell:
    view = row.view
    if view.kind == "text":
        return Cell(f"{view.output_tokens}/{view.max_tokens}" if view.max_tokens else str(view.output_tokens))
    return Cell(f"{view.steps_done or 0}/{view.steps or '?'}")


def _progress(row: Timeline) -> int:
    return row.view.output_tokens + (row.view.steps_done or 0)


def _line(row: Timeline) -> Cell:
    is_live = row.ended_s is None
    return Cell(f"#{row.view.position}", Tone.WARN) if row.view.position and is_live else NONE


def _next(row: Timeline) -> Cell:
    view = row.view
    if row.ended_s is not None:
        return NONE
    if view.position == 0:
        return Cell("now", Tone.GOOD)
    return Cell(short_seconds(view.next_slice_s)) if view.next_slice_s else NONE


def _first(row: Timeline) -> Cell:
    first_s = row.view.first_token_s
    return Cell(short_seconds(first_s)) if first_s is not None else NONE


def _rate(row: Timeline) -> Cell:
    return Cell(f"{row.rate.per_s:.1f}") if row.rate.per_s and row.ended_s is None else NONE


_COLUMNS: tuple[Column[Timeline], ...] = (
    Column(title="PROMPT", width=8, cell=lambda row: Cell(row.view.id[:8], Tone.DIM), sort=lambda row: row.view.id),
    Column(title="TENANT", width=8, cell=lambda row: Cell(row.view.tenant), sort=lambda row: row.view.tenant, drop=5),
    Column(title="MODEL", width=9, cell=lambda row: Cell(row.view.model), sort=lambda row: row.view.model),
    Column(title="STATE", width=14, cell=_state, sort=lambda row: (row.view.state, row.view.place), grows=True),
    Column(title="IN", width=5, cell=lambda row: Cell(str(row.view.input_tokens)),
           sort=lambda row: row.view.input_tokens, right=True, drop=8),
    Column(title="DONE", width=9, cell=_done, right=True, sort=_progress),
    Column(title="TOK/S", width=6, cell=_rate, sort=lambda row: row.rate.per_s, right=True),
    Column(title="TTFT", width=6, cell=_first, sort=lambda row: row.view.first_token_s, right=True),
    Column(title="SERVICE", width=8, cell=lambda row: Cell(short_seconds(row.view.service_s)),
           sort=lambda row: row.view.service_s, right=True, drop=3),
    Column(title="WAIT", width=5, cell=lambda row: Cell(short_seconds(row.view.waited_s)),
           sort=lambda row: row.view.waited_s, right=True, drop=4),
    Column(title="AGE", width=5, cell=lambda row: Cell(short_seconds(row.view.age_s)),
           sort=lambda row: row.view.age_s, right=True),
    Column(title="LINE", width=5, cell=_line, sort=lambda row: row.view.position, right=True, drop=6),
    Column(title="NEXT", width=5, cell=_next, sort=lambda row: row.view.next_slice_s, right=True, drop=7),
)  # fmt: skip

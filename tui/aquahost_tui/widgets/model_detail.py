"""All that is known of one model."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.messages.wire import EngineStats, Paged
from aquahost.units import format_bytes, format_seconds
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.bars import BORROWED, KV, WEIGHTS, WORK, Part, divide
from aquahost_tui.widgets.cells import Tone, short_bytes, short_seconds
from aquahost_tui.widgets.loading import load_share, load_words, progress_bar
from aquahost_tui.widgets.model_state import is_parked, state_tone, state_words

_LABEL = 10
"""Cells that labels take."""
_BAR = 60
"""Cells that bars take at most."""
_HOST = Part("host memory", "▚", "$secondary")
_PLACES = {"local": "own GPU", "peer": "neighbours", "host": "host"}

Line = tuple[str, Content]
"""A label, and what is said under it."""


class ModelDetail(Widget):
    """The model that `point_at` named last; as many lines as it takes."""

    DEFAULT_CSS = """
    ModelDetail { height: auto; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._store: Store | None = None
        self._name: str | None = None
        self._model: ModelView | None = None

    def point_at(self, name: str | None) -> None:
        """Show another model."""
        self._name = name
        if self._store is not None:
            self.show(self._store)

    def show(self, store: Store) -> None:
        """Show the model as it is now."""
        self._store = store
        models = store.snapshot.models if store.snapshot is not None else []
        model = next((model for model in models if model.name == self._name), None)
        if model != self._model:
            self._model = model
            # More or fewer lines may be needed.
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """A line for each of `render`."""
        return len(self._lines(width))

    def render(self) -> Content:
        """Labels and what is said under them, wrapped."""
        return Content("\n").join(self._lines(self.size.width))

    def _lines(self, width: int) -> list[Content]:
        if self._model is None:
            return [Content.styled("no model is chosen", "$foreground-muted")]
        room = max(width - _LABEL, 1)
        found = []
        for label, said in _said(self._model, room):
            for number, line in enumerate(said.wrap(room)):
                head = label if number == 0 else ""
                found.append(Content.assemble((f"{head:<{_LABEL}}", "$foreground-muted"), line))
        return found


def _said(model: ModelView, room: int) -> Iterator[Line]:
    """Everything there is to say in lines of `room` cells, the most important first."""
    stats = model.stats or EngineStats()
    yield "state", _state(model)
    if model.state is ModelState.LOADING:
        yield "loading", _loading(model, min(room, _BAR))
    if model.reason is not None:
        failed = model.state is ModelState.FAILED
        yield (
            "reason" if failed else "last died",
            Content.styled(model.reason, "$text-error" if failed else "$text-warning"),
        )
    if stats.stuck:
        yield "stuck", Content.styled(f"cannot come back: {stats.stuck}", "$text-warning")
    if model.stats is not None:
        yield "prompts", _prompts(model, stats)
        yield from _memory(stats, room)
        yield "work", _work(stats)
        if stats.paged:
            yield "paged", _paged(stats.paged, room)
    if model.footprint is not None:
        yield "runs as", _footprint(model)
    yield "source", Content(model.source)
    if model.pid is not None:
        resident = "" if model.resident_bytes is None else f", {format_bytes(model.resident_bytes)} resident"
        yield "process", Content(f"pid {model.pid}{resident}, {_times(model.restarts)} restarted")


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _state(model: ModelView) -> Content:
    words = [(state_words(model), f"bold {state_tone(model).variable}")]
    if model.gpu is not None:
        words.append((f" on GPU {model.gpu}", ""))
    if model.ready_for_s is not None:
        words.append((f", up for {format_seconds(model.ready_for_s)}", ""))
    if is_parked(model):
        words.append(("; wakes with its next prompt, or with w", "$foreground-muted"))
    elif model.state in (ModelState.UNLOADED, ModelState.FAILED):
        words.append(("; l loads it", "$foreground-muted"))
    return Content.assemble(*words)


def _loading(model: ModelView, bar: int) -> Content:
    share = load_share(model.load)
    words = load_words(model.load)
    if share is None:
        return Content.styled(f"{words} …", Tone.BUSY.variable)
    return Content.assemble(
        (progress_bar(share, bar - 5), "$primary"), (f" {share * 100:>3.0f}%", "bold"), f"\n{words}"
    )


def _prompts(model: ModelView, stats: EngineStats) -> Content:
    slices = f", slices of {short_seconds(stats.slice_s)}" if stats.slice_s else ""
    return Content.assemble(
        (f"{stats.running}", "bold $text-success"), " running  ",
        (f"{stats.suspended}", "bold $text-accent"), " paged  ",
        (f"{stats.waiting}", "bold $text-warning"), " waiting  ",
        (f"{model.queue}/{model.max_queue}{slices}", "$foreground-muted"),
    )  # fmt: skip


def _memory(stats: EngineStats, room: int) -> Iterator[Line]:
    """A bar of all the memory that the model has, a legend with bytes, and how full its KV memory is."""
    parts = [
        (WEIGHTS, stats.weights_bytes),
        (KV, stats.kv_bytes),
        (WORK, stats.work_bytes),
        (BORROWED, stats.borrowed_bytes),
        (_HOST, stats.host_bytes),
    ]
    parts = [(part, nbytes) for part, nbytes in parts if nbytes]
    if parts:
        cells = divide([nbytes for _, nbytes in parts], min(room, _BAR))
        drawn = [(part.glyph * count, part.colour) for (part, _), count in zip(parts, cells, strict=True)]
        yield "memory", Content.assemble(*drawn)
        legend = [
            Content.assemble((part.glyph, part.colour), (f" {part.name} ", "$foreground-muted"), short_bytes(nbytes))
            for part, nbytes in parts
        ]
        yield "", _packed(legend, room)
    if stats.kv_used_bytes:
        blocks = f", {stats.kv_blocks_free:,} of {stats.kv_blocks:,} own blocks free" if stats.kv_blocks else ""
        yield "KV in use", Content(f"{format_bytes(stats.kv_used_bytes)}, wherever it lies{blocks}")


def _work(stats: EngineStats) -> Content:
    tokens = f", {stats.output_tokens:,} tokens" if stats.output_tokens else ""
    busy = f", {format_seconds(stats.busy_s)} of device time" if stats.busy_s else ""
    return Content(f"{stats.steps:,} steps{tokens}{busy}")


def _paged(paged: tuple[Paged, ...], room: int) -> Content:
    moves = [
        Content.assemble(
            (
                f"{_PLACES.get(move.source, move.source)} → {_PLACES.get(move.target, move.target)} ",
                "$foreground-muted",
            ),
            format_bytes(move.nbytes),
        )
        for move in paged
        if move.nbytes
    ]
    return _packed(moves, room) if moves else Content.styled("nothing yet", "$foreground-muted")


def _packed(pieces: list[Content], room: int) -> Content:
    """Pieces side by side, as many in each line as there is room for; none is torn apart."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if lines[-1].cell_length + 2 + piece.cell_length <= room:
            lines[-1] = lines[-1] + "  " + piece
        else:
            lines.append(piece)
    return Content("\n").join(lines)


def _footprint(model: ModelView) -> Content:
    footprint = model.footprint
    if footprint is None:
        return Content("")
    parts = [footprint.detail] if footprint.detail else []
    if footprint.max_context:
        parts.append(f"context {footprint.max_context:,} tokens")
    if footprint.weights_bytes:
        parts.append(f"weights {format_bytes(footprint.weights_bytes)}")
    if footprint.kv_bytes:
        parts.append(f"KV at most {format_bytes(footprint.kv_bytes)}")
    if footprint.peak_bytes:
        parts.append(f"peak {format_bytes(footprint.peak_bytes)} beyond")
    return Content(", ".join(parts))

"""One GPU: how its memory is used, how busy it is, what it exchanges, and which models live there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from textual.content import Content
from textual.widget import Widget

from aquahost.messages.snapshot import GpuView, LeaseView, ModelView
from aquahost_tui.store.series import Series
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.bars import BORROWED, LEAST_RATE, divide, memory_parts, sparkline
from aquahost_tui.widgets.cells import Tone, short_bytes, short_rate
from aquahost_tui.widgets.model_state import state_mark, state_tone, state_word

_BUSY, _IDLE = 0.75, 0.10
"""Utilisation from which a GPU counts as busy, and below which as idle (as nvitop's colours do)."""


@dataclass(slots=True)
class _Shown:
    gpu: GpuView
    models: list[ModelView]
    lent: dict[int, int]
    """Bytes by borrower's GPU."""
    borrowed: dict[int, int]
    """Bytes by donor."""
    utilisation: Series = field(default_factory=Series)
    traffic: Series = field(default_factory=Series)


class GpuCard(Widget):
    """In one line, or with the class `-card` as a box of four in a frame."""

    DEFAULT_CSS = """
    GpuCard { height: 1; width: 1fr; }
    GpuCard.-card { height: 6; border: round $primary-muted; padding: 0 1; border-title-color: $text-primary; }
    GpuCard.-card.-lost { border: round $error; }
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self._index = index
        self._shown: _Shown | None = None

    def show(self, store: Store) -> None:
        """Show this GPU as it is now."""
        snapshot = store.snapshot
        gpu = next((gpu for gpu in snapshot.gpus if gpu.index == self._index), None) if snapshot else None
        if snapshot is None or gpu is None:
            return
        self._shown = _Shown(
            gpu=gpu,
            models=[model for model in snapshot.models if model.gpu == gpu.index or model.name in gpu.models],
            lent=_by_gpu(snapshot.leases, lambda lease: (lease.donor, lease.borrower_gpu), gpu.index),
            borrowed=_by_gpu(snapshot.leases, lambda lease: (lease.borrower_gpu, lease.donor), gpu.index),
            utilisation=store.utilisation.get(gpu.index, Series()),
            traffic=store.traffic.get(gpu.index, Series()),
        )
        self.set_class(gpu.lost is not None, "-lost")
        self.border_title = Content(f"GPU {gpu.index} · {gpu.name}")
        self.refresh()

    def render(self) -> Content:
        """A line, or a box's lines."""
        if self._shown is None:
            return Content("")
        return self._box(self._shown) if self.has_class("-card") else self._line(self._shown)

    def _line(self, shown: _Shown) -> Content:
        width = self.size.width
        bar = min(width * 3 // 10, 60) if width >= 60 else 10
        parts = [Content.styled(f"{shown.gpu.index:>2} ", "bold")]
        if shown.gpu.lost is not None:
            return Content.assemble(parts[0], ("LOST ", "bold $text-error"), shown.gpu.lost).truncate(width)
        parts += [_bar(shown.gpu, bar), Content(" "), Content.styled(f"{_used(shown.gpu):>11} ", "")]
        parts.append(_percent(shown.gpu))
        spark = 6 if width < 100 else (9 if width < 150 else 16)
        parts.append(_spark(shown.utilisation, spark, 1.0, "$text-success"))
        if width >= 110:
            parts += [Content(" "), _traffic(shown, spark), Content(" ")]
        parts += [Content(" "), _models(shown.models), _lending(shown, words=False)]
        return Content.assemble(*parts).truncate(width, ellipsis=True)

    def _box(self, shown: _Shown) -> Content:
        width = self.content_size.width
        if shown.gpu.lost is not None:
            return Content.styled(f"LOST: {shown.gpu.lost}", "bold $text-error")
        used = f"{_used(shown.gpu)} used"
        lines = [
            _bar(shown.gpu, width),
            Content.assemble((used, "bold"), _lending(shown, words=True)),
            Content.assemble(
                _percent(shown.gpu),
                _spark(shown.utilisation, max(width - 6 - 1 - 21, 4), 1.0, "$text-success"),
                " ",
                _traffic(shown, 12),
            ),
            _models(shown.models),
        ]
        return Content("\n").join(line.truncate(width, ellipsis=True) for line in lines)


def _by_gpu(leases: list[LeaseView], ends: Callable[[LeaseView], tuple[int, int]], gpu: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for lease in leases:
        mine, theirs = ends(lease)
        if mine == gpu:
            found[theirs] = found.get(theirs, 0) + lease.nbytes
    return found


def _bar(gpu: GpuView, width: int) -> Content:
    """The GPU's own memory, and after a stroke what it has borrowed, to the same scale."""
    parts = memory_parts(gpu)
    if gpu.borrowed_bytes:
        width -= 1
        parts.append((BORROWED, gpu.borrowed_bytes))
    cells = divide([nbytes for _, nbytes in parts], width)
    pieces = [Content.styled(part.glyph * count, part.colour) for (part, _), count in zip(parts, cells, strict=True)]
    if gpu.borrowed_bytes:
        pieces.insert(-1, Content.styled("│", "$foreground-muted"))
    return Content("").join(pieces)


def _used(gpu: GpuView) -> str:
    return f"{short_bytes(gpu.total_bytes - gpu.free_bytes)}/{short_bytes(gpu.total_bytes)}"


def _percent(gpu: GpuView) -> Content:
    if gpu.utilisation is None:
        return Content.styled("   –  ", "$foreground-muted")
    tone = Tone.DIM if gpu.utilisation < _IDLE else (Tone.WARN if gpu.utilisation >= _BUSY else Tone.GOOD)
    return Content.styled(f"{gpu.utilisation * 100:>4.0f}% ", tone.variable)


def _spark(series: Series, width: int, most: float, style: str) -> Content:
    return Content.styled(sparkline(series.last(width), width, most), style)


def _traffic(shown: _Shown, width: int) -> Content:
    points = shown.traffic.last(width)
    most = max([LEAST_RATE, *points])
    rate = f"{short_rate(shown.traffic.now):>8}" if shown.traffic.now else "       –"
    return Content.assemble((rate, "$foreground-muted"), " ", (sparkline(points, width, most), "$text-accent"))


def _models(models: list[ModelView]) -> Content:
    if not models:
        return Content.styled("no model", "$foreground-disabled")
    pieces = []
    for model in models:
        tone = state_tone(model).variable
        live = f" {model.queue}" if model.queue else ""
        pieces.append(
            Content.assemble(
                (f"{state_mark(model)} ", tone),
                model.name,
                (f" {state_word(model)}", tone),
                (live, "bold $text-warning"),
            )
        )
    return Content("  ").join(pieces)


def _lending(shown: _Shown, *, words: bool) -> Content:
    """What it lends to whom, and what it borrows from whom."""
    pieces = [
        Content.assemble(
            ("  lends " if words else "  ", "$foreground-muted"), (f"{short_bytes(nbytes)}→{gpu}", "$text-warning")
        )
        for gpu, nbytes in sorted(shown.lent.items())
    ]
    if shown.borrowed:
        donors = ",".join(str(gpu) for gpu in sorted(shown.borrowed))
        total = short_bytes(sum(shown.borrowed.values()))
        pieces.append(
            Content.assemble(
                ("  borrows " if words else "  ", "$foreground-muted"), (f"{total}←{donors}", "$text-accent")
            )
        )
    return Content("").join(pieces)

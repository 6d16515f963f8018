"""How every two GPUs, and each GPU and host memory, are linked: sources down, targets across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from aquahost.messages.snapshot import LinkView, Snapshot
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.cells import Tone

HOST = -1
_HEAD = 8
_NARROW, _WIDE = 4, 11


class LinkMatrix(Widget, can_focus=True):
    """A glyph for what each link is and its measured GB/s; a mark where there is traffic now. Posts Moved."""

    DEFAULT_CSS = """
    LinkMatrix { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1, 0)", "Move", id="links.up", key_display="arrows", tooltip="Another source"),
        Binding("down", "move(1, 0)", "Down", id="links.down", show=False, tooltip="Another source"),
        Binding("left", "move(0, -1)", "Left", id="links.left", show=False, tooltip="Another target"),
        Binding("right", "move(0, 1)", "Right", id="links.right", show=False, tooltip="Another target"),
        Binding("x", "turn", "Other way", id="links.turn", tooltip="Show the link's other direction"),
    ]

    class Moved(Message):
        """The cursor is on another pair."""

        def __init__(self, pair: tuple[int, int]) -> None:
            super().__init__()
            self.pair = pair

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ends: list[int] = []
        self._links: dict[tuple[int, int], LinkView] = {}
        self._flows: frozenset[tuple[int, int]] = frozenset()
        self._at = (0, 1)

    @property
    def pair(self) -> tuple[int, int] | None:
        """Source and target under the cursor; None before there is anything."""
        row, column = self._at
        return (self._ends[row], self._ends[column]) if self._ends else None

    def show(self, store: Store) -> None:
        """Show the links, and where there is traffic now."""
        if store.snapshot is None:
            return
        ends = ends_of(store.snapshot)
        links = {(link.source, link.target): link for link in store.snapshot.links}
        flows = frozenset((flow.source, flow.target) for flow in store.snapshot.flows)
        if ends != self._ends:
            self._ends = ends
            self._place(*self._at)
            self.refresh(layout=True)
        if (links, flows) != (self._links, self._flows):
            self._links, self._flows = links, flows
            self.refresh()

    # -- keys and mouse ----------------------------------------------------------------------------------------

    def action_move(self, down: int, right: int) -> None:
        """Move the cursor."""
        self._place(self._at[0] + down, self._at[1] + right)

    def action_turn(self) -> None:
        """Go to the other direction."""
        self._place(self._at[1], self._at[0])

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there."""
        at = event.get_content_offset(self)
        if at is not None and at.y >= 1 and at.x >= _HEAD and self._ends:
            self._place(at.y - 1, (at.x - _HEAD) // self._each())

    def _place(self, row: int, column: int) -> None:
        last = max(len(self._ends) - 1, 0)
        self._at = (max(0, min(row, last)), max(0, min(column, last)))
        self.refresh()
        if (pair := self.pair) is not None:
            self.post_message(self.Moved(pair))

    # -- drawing -----------------------------------------------------------------------------------------------

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """A line for each end, and one above."""
        return len(self._ends) + 1

    def on_focus(self) -> None:
        """The cursor stands out more."""
        self.refresh()

    def on_blur(self) -> None:
        """The cursor stands out less."""
        self.refresh()

    def render(self) -> Content:
        """The matrix."""
        if not self._ends:
            return Content("")
        each = self._each()
        row, column = self._at
        heads = [Content.styled("from→to".ljust(_HEAD), "$foreground-muted")]
        heads += [
            Content.styled(_name(end, each).rjust(each - 1) + " ", _head_style(at == column))
            for at, end in enumerate(self._ends)
        ]
        lines = [Content.assemble(*heads).truncate(self.size.width)]
        for at, source in enumerate(self._ends):
            parts = [Content.styled(f" {_name(source, _HEAD):<{_HEAD - 1}}", _head_style(at == row))]
            parts += [
                self._cell(source, target, each, is_cursor=(at, other) == self._at)
                for other, target in enumerate(self._ends)
            ]
            lines.append(Content.assemble(*parts).truncate(self.size.width))
        return Content("\n").join(lines)

    def _each(self) -> int:
        room = (self.size.width - _HEAD) // max(len(self._ends), 1)
        return max(_NARROW, min(room, _WIDE))

    def _cell(self, source: int, target: int, width: int, *, is_cursor: bool) -> Content:
        text, style = self._words(source, target, width)
        if is_cursor:
            style = "bold $background on $primary" if self.has_focus else "bold on $primary-muted"
        return Content.styled(text.rjust(width - 1) + " ", style)

    def _words(self, source: int, target: int, width: int) -> tuple[str, str]:
        if source == target:
            return "╲", "$foreground-disabled"
        link = self._links.get((source, target))
        if link is None:
            return "?", "$foreground-muted"
        glyph, tone = glyph_of(link)
        has_traffic = (source, target) in self._flows
        rate = _gigabytes(link.bytes_per_s)
        mark = "▸" if has_traffic else ""
        text = f"{mark}{glyph} {rate}".rstrip()
        if len(text) >= width:
            text = mark + (rate or glyph) if len(mark + rate) < width else glyph
        return text, f"bold {tone.variable}" if has_traffic or not link.usable else tone.variable


def ends_of(snapshot: Snapshot) -> list[int]:
    """All GPUs, then host memory."""
    return [*(gpu.index for gpu in snapshot.gpus), HOST]


def glyph_of(link: LinkView) -> tuple[str, Tone]:
    """What stands for a link of this kind."""
    if not link.usable:
        return "✕", Tone.BAD
    if HOST in (link.source, link.target):
        return "┅", Tone.ACCENT
    return ("─", Tone.BUSY) if link.reason == "PCIe" else ("━", Tone.GOOD)


GLYPHS: Sequence[tuple[str, Tone, str]] = (
    ("━", Tone.GOOD, "NVLink, emulated"),
    ("─", Tone.BUSY, "PCIe"),
    ("┅", Tone.ACCENT, "host memory"),
    ("✕", Tone.BAD, "refused"),
    ("▸", Tone.PLAIN, "traffic now"),
)
"""The legend."""


def _gigabytes(bytes_per_s: float) -> str:
    if not bytes_per_s:
        return ""
    return f"{bytes_per_s / 1e9:.1f}" if bytes_per_s < 99.95e9 else f"{bytes_per_s / 1e9:.0f}"


def _name(end: int, width: int) -> str:
    if end == HOST:
        return "host"
    return f"GPU {end}" if width >= 7 else str(end)


def _head_style(is_here: bool) -> str:
    return "bold $text-primary" if is_here else "$foreground-muted"

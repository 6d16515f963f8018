"""All GPUs, as boxes where there is room for them and else as lines, with a legend of what bars are made of."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import ItemGrid, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from aquahost_tui.sizes import LOW_HEIGHT
from aquahost_tui.store.store import Store
from aquahost_tui.widgets.bars import PARTS
from aquahost_tui.widgets.gpu_card import GpuCard

_CARD_WIDTH, _CARD_HEIGHT = 46, 6
_OTHER_LINES = 24
"""What the rest of the screen needs for boxes to be worth their room."""
_LINE_WIDTH, _FEW = 58, 10
"""Where there are more lines than a few, they stand side by side if each has this width."""
_OTHERS, _OTHERS_LOW = 22, 12
"""What is left to the rest of the screen, whatever the number of GPUs; and that in a low terminal."""


class GpuPanel(Vertical):
    """Cards are made once the first snapshot tells how many GPUs there are."""

    DEFAULT_CSS = """
    GpuPanel { height: auto; }
    GpuPanel #gpus-scroll { height: auto; }
    GpuPanel ItemGrid { height: auto; grid-size: 1; grid-gutter: 0 1; }
    GpuPanel #legend { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._gpus: list[int] = []

    def compose(self) -> ComposeResult:
        """A grid that is scrolled where it must be, and a legend."""
        with VerticalScroll(id="gpus-scroll", can_focus=False):
            yield ItemGrid(id="gpus")
        yield Static(_legend(), id="legend")

    def show(self, store: Store) -> None:
        """Show every GPU as it is now."""
        if store.snapshot is None:
            return
        gpus = [gpu.index for gpu in store.snapshot.gpus]
        if gpus != self._gpus:
            self._gpus = gpus
            grid = self.query_one("#gpus", ItemGrid)
            grid.remove_children()
            grid.mount_all(GpuCard(gpu) for gpu in gpus)
            self._arrange()
        for card in self.query(GpuCard):
            card.show(store)

    def on_resize(self) -> None:
        """Boxes or lines."""
        self._arrange()

    def _arrange(self) -> None:
        width, height = self.app.size
        columns = max(min(width // _CARD_WIDTH, len(self._gpus), 4), 1)
        rows = -(-len(self._gpus) // columns)
        boxes = columns > 1 and rows * _CARD_HEIGHT + _OTHER_LINES <= height
        if not boxes:
            columns = max(min(width // _LINE_WIDTH, -(-len(self._gpus) // _FEW)), 1)
            rows = -(-len(self._gpus) // columns)
        self.query_one("#gpus", ItemGrid).styles.grid_size_columns = columns
        room = height - (_OTHERS_LOW if height < LOW_HEIGHT else _OTHERS)
        # Where not all lines fit, one of them tells so.
        self._limit(room - 1 if not boxes and rows > room else None, columns)
        for card in self.query(GpuCard):
            card.set_class(boxes, "-card")

    def _limit(self, lines: int | None, columns: int) -> None:
        """Show only so many lines if that is not None, and tell how to come to the others."""
        scroll, legend = self.query_one("#gpus-scroll", VerticalScroll), self.query_one("#legend", Static)
        scroll.styles.max_height = lines
        scroll.can_focus = lines is not None
        legend.set_class(lines is not None, "-hint")
        if lines is None:
            legend.update(_legend())
        else:
            hidden = len(self._gpus) - lines * columns
            words = f"{hidden} of {len(self._gpus)} GPUs out of view: shift+tab, up and down"
            legend.update(Content.styled(words, "$text-warning"))


def _legend() -> Content:
    return Content("  ").join(
        Content.assemble((part.glyph, part.colour), (f" {part.name}", "$foreground-muted")) for part in PARTS
    )

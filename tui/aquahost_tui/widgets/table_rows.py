"""Which rows a table shows, and in what order: pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.cells import cell_len, set_cell_size

from aquahost_tui.widgets.cells import Cell

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One column: what it shows of a row, and what it is sorted by."""

    title: str
    width: int
    cell: Callable[[T], Cell]
    sort: Callable[[T], Any]
    """None sorts last, whichever way."""
    right: bool = False
    grows: bool = False
    """Takes width that is left over."""
    drop: int = 0
    """Columns with larger numbers are left out first where there is no room; 0 stays."""

    def __post_init__(self) -> None:
        if self.width <= len(self.title):
            raise ValueError(f"{self.title!r} leaves no room for the arrow of the column that is sorted by")


def shown_columns(columns: Sequence[Column[T]], width: int) -> list[tuple[int, int]]:
    """Indices of the columns that fit into `width`, each with its width; one blank stands between two."""
    kept = list(range(len(columns)))
    while kept and sum(columns[at].width + 1 for at in kept) - 1 > width:
        worst = max(kept, key=lambda at: (columns[at].drop, at))
        if not columns[worst].drop:
            break
        kept.remove(worst)
    left = width - sum(columns[at].width + 1 for at in kept) + 1
    growing = [at for at in kept if columns[at].grows]
    extra = dict.fromkeys(kept, 0)
    for number, at in enumerate(growing):
        extra[at] = max(left, 0) * (number + 1) // len(growing) - max(left, 0) * number // len(growing)
    return [(at, columns[at].width + extra[at]) for at in kept]


def matches(text: str, wish: str) -> bool:
    """Whether a row's text has every word of the filter; a word that begins with "!" must not be in it."""
    text = text.lower()
    for word in wish.lower().split():
        if word.startswith("!"):
            if word[1:] and word[1:] in text:
                return False
        elif word not in text:
            return False
    return True


def in_order(rows: Sequence[T], column: Column[T], *, descending: bool) -> list[T]:
    """Sorted by a column; rows that have nothing there come last."""
    keyed = [(column.sort(row), row) for row in rows]
    known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + [row for key, row in keyed if key is None]


def fit(text: str, width: int, *, right: bool = False) -> str:
    """`text` in exactly `width` cells of the terminal, cut with "…" where it is longer."""
    taken = cell_len(text)
    if taken > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - taken) + text if right else text + " " * (width - taken)

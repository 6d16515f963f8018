"""How the terminal UI writes figures, divides bars and lays out tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from aquahost.units import GIB, MIB
from aquahost_tui.widgets.bars import divide, sparkline
from aquahost_tui.widgets.cells import Cell, short_bytes, short_count, short_rate, short_seconds
from aquahost_tui.widgets.table_rows import Column, fit, in_order, matches, shown_columns


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0"), (1023, "1023"), (512 * MIB, "512M"), (1.5 * GIB, "1.5G"), (80 * GIB, "80G"), (1023.9 * MIB, "1.0G")],
)
def test_sizes(nbytes: float, text: str) -> None:
    assert short_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0853, "85ms"),
        (0.9999, "1.0s"),
        (4.24, "4.2s"),
        (75, "75s"),
        (185, "3m05"),
        (7800, "2h10"),
        (9e5, "10d"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert short_seconds(seconds) == text


def test_rates_and_counts() -> None:
    assert [short_rate(rate) for rate in (0, 950, 4.5e6, 14e9)] == ["0/s", "950/s", "4.5M/s", "14G/s"]
    assert [short_count(count) for count in (7, 9_500, 12_400, 3_100_000)] == ["7", "9,500", "12.4k", "3.1M"]


@given(st.floats(0, 1e15))
def test_short_forms_keep_their_width(value: float) -> None:
    assert len(short_bytes(value)) <= 5
    assert len(short_rate(value)) <= 7


@given(st.floats(0, 8e6))
def test_short_times_keep_their_width(seconds: float) -> None:
    assert len(short_seconds(seconds)) <= 5


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8), st.integers(0, 200))
def test_bars_are_filled_exactly_and_show_whatever_there_is(sizes: list[int], cells: int) -> None:
    counts = divide(sizes, cells)
    if not sum(sizes) or not cells:
        assert counts == [0] * len(sizes)
        return
    assert sum(counts) == cells
    assert all(count == 0 for count, size in zip(counts, sizes, strict=True) if not size)
    if cells >= len(sizes):
        assert all(count >= 1 for count, size in zip(counts, sizes, strict=True) if size)


@given(st.lists(st.floats(0, 2), max_size=30), st.integers(0, 20))
def test_sparklines_have_their_width_and_no_hidden_points(points: list[float], width: int) -> None:
    text = sparkline(points, width, 1.0)
    assert len(text) == width
    shown = points[-width:] if width else []
    assert all((glyph != " ") == (point > 0) for glyph, point in zip(text[width - len(shown) :], shown, strict=True))


def column(title: str, width: int, *, drop: int = 0, grows: bool = False) -> Column[str]:
    return Column(title=title, width=width, cell=Cell, sort=lambda row: row or None, drop=drop, grows=grows)


@given(st.integers(1, 120))
def test_columns_fit_or_only_those_are_left_that_stay(width: int) -> None:
    columns = [column("A", 8), column("B", 10, drop=2), column("C", 6, drop=1), column("D", 5, grows=True)]
    shown = shown_columns(columns, width)
    taken = sum(size + 1 for _, size in shown) - 1
    assert taken == width or [at for at, _ in shown] == [0, 3]
    if any(at == 1 for at, _ in shown):
        assert any(at == 2 for at, _ in shown)  # the larger number goes first


def test_filters_take_words_and_words_that_must_not_be_there() -> None:
    assert matches("chat gold Paged to GPU 4", "gpu gold")
    assert not matches("chat gold", "silver")
    assert not matches("chat gold", "chat !gold")
    assert matches("chat gold", "! ")


def test_what_is_not_known_sorts_last_both_ways() -> None:
    names = column("A", 8)
    assert in_order(["b", "", "a"], names, descending=False) == ["a", "b", ""]
    assert in_order(["b", "", "a"], names, descending=True) == ["b", "a", ""]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "M", "Z", "S"]), max_size=20), st.integers(0, 12))
def test_texts_are_cut_to_cells(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width
    assert cell_len(fit(text, width, right=True)) == width


def test_a_title_has_room_for_its_arrow() -> None:
    with pytest.raises(ValueError, match="no room for the arrow"):
        column("SERVICE", 7)

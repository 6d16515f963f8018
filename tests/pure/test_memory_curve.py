"""Bytes by size, between and beyond what was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.engines.memory_curve import Measured, MemoryCurve

POINTS = st.dictionaries(
    st.integers(1, 10**7), st.tuples(st.integers(0, 2**36), st.integers(0, 2**34)), min_size=1, max_size=6
).map(
    lambda points: [
        Measured(size=size, peak_bytes=peak + held, held_bytes=held) for size, (peak, held) in sorted(points.items())
    ]
)


def curve(*points: tuple[float, int, int]) -> MemoryCurve:
    return MemoryCurve([Measured(size=size, peak_bytes=peak, held_bytes=held) for size, peak, held in points])


def test_between_and_beyond_measured_sizes_lines_are_straight() -> None:
    grows = curve((10, 100, 10), (20, 200, 10), (40, 600, 10))
    assert [grows.needed_bytes([size]) for size in (5, 10, 15, 20, 30, 40, 80)] == [100, 100, 150, 200, 400, 600, 1400]


def test_one_that_computes_needs_its_peak_and_the_others_what_they_hold() -> None:
    grows = curve((1, 100, 10), (2, 300, 30))
    assert grows.needed_bytes([2, 1, 1]) == 300 + 10 + 10
    assert grows.needed_bytes([1, 1]) == 110
    assert grows.needed_bytes([]) == 0


def test_the_one_that_grows_most_above_what_it_holds_is_reckoned_with() -> None:
    grows = curve((1, 100, 0), (2, 120, 110))
    assert grows.needed_bytes([1, 2]) == 110 + 100


def test_what_was_never_measured_needs_nothing_that_is_known() -> None:
    assert MemoryCurve([]).needed_bytes([10**9]) == 0


def test_one_measured_size_grows_in_proportion_and_does_not_shrink() -> None:
    assert [curve((4, 100, 20)).needed_bytes([size]) for size in (1, 4, 8)] == [100, 100, 200]


@given(POINTS, st.lists(st.floats(0.1, 1e8), min_size=2, max_size=2))
def test_a_larger_size_never_needs_less(points: list[Measured], sizes: list[float]) -> None:
    grows = MemoryCurve(points)
    small, large = sorted(sizes)
    assert grows.needed_bytes([small]) <= grows.needed_bytes([large])


@given(POINTS, st.lists(st.floats(0.1, 1e8), max_size=4), st.floats(0.1, 1e8))
def test_another_prompt_never_lowers_the_need(points: list[Measured], sizes: list[float], more: float) -> None:
    grows = MemoryCurve(points)
    # Where a smaller size held nearly all of its peak, the sum rounds.
    assert grows.needed_bytes(sizes) <= grows.needed_bytes([*sizes, more]) + 1


@given(POINTS)
def test_what_was_measured_is_enough(points: list[Measured]) -> None:
    grows = MemoryCurve(points)
    assert all(grows.needed_bytes([one.size]) >= one.peak_bytes for one in points)


@pytest.mark.parametrize(("nbytes", "largest"), [(99, None), (100, 1), (150, 1), (300, 2), (10**6, 4)])
def test_the_largest_size_that_fits(nbytes: int, largest: float | None) -> None:
    assert curve((1, 100, 0), (2, 300, 0)).largest_within(nbytes, [1, 2, 4]) == largest

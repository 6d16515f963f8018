"""A prompt's slices and its line of time."""

from __future__ import annotations

import pytest

from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import PromptView
from aquahost_tui.store.life import accepted_s, cells_of, slices_of, tick_step_s, until_s
from aquahost_tui.store.timelines import Span, Timeline, Timelines
from aquahost_tui.widgets.prompt_life import glyph_of

W, F, R, S = PromptState.WAITING, PromptState.PREFILLING, PromptState.RUNNING, PromptState.SUSPENDED


def view(state: PromptState, age_s: float, place: str = "") -> PromptView:
    return PromptView(
        id="p1", model="chat", tenant="web", kind="text", state=state, age_s=age_s, input_tokens=1, output_tokens=0,
        steps_done=None, steps=None, first_token_s=None, place=place,
    )  # fmt: skip


def lived(*states: tuple[PromptState, str], each_s: float = 1.0, ended: bool = False) -> Timeline:
    """A prompt that was seen in these states, one after the other, from second 10 on; it was 2 s old by then."""
    timelines = Timelines()
    for at, (state, place) in enumerate(states):
        timelines.take([view(state, 2 + at * each_s, place)], 10 + at * each_s)
    if ended:
        timelines.take([], 10 + len(states) * each_s)
    found = timelines.find("p1")
    assert found is not None
    return found


def test_work_in_a_row_is_one_slice() -> None:
    timeline = lived((W, ""), (F, ""), (R, ""), (S, "GPU 4"), (S, "host"), (S, "host"), (R, ""), (S, "GPU 4"))
    slices = slices_of(timeline)
    assert (slices.count, slices.mean_s, slices.longest_gap_s) == (2, 1.5, 3.0)


def test_the_time_since_the_last_slice_is_a_gap_too() -> None:
    assert slices_of(lived((R, ""), *[(S, "host")] * 6)).longest_gap_s == 5.0


def test_a_prompt_that_was_never_computed_has_no_slices() -> None:
    slices = slices_of(lived((W, ""), (W, "")))
    assert (slices.count, slices.mean_s, slices.longest_gap_s) == (0, 0.0, 0.0)


def test_its_life_begins_when_the_daemon_took_it_and_ends_when_it_was_gone() -> None:
    assert accepted_s(lived((W, ""), (R, ""))) == 8.0
    assert until_s(lived((W, ""), (R, ""))) == 11.0
    assert until_s(lived((W, ""), (R, ""), ended=True)) == 12.0


def test_cells_show_how_it_stood_and_where_nobody_watched() -> None:
    timeline = lived((W, ""), (R, ""), (S, "GPU 4"), (R, ""), ended=True)
    cells = cells_of(timeline, 8.0, 14.0, 6)
    assert [cell and (cell.state, cell.place) for cell in cells] == [
        None,
        None,
        (W, ""),
        (R, ""),
        (S, "GPU 4"),
        (R, ""),
    ]


def test_a_cell_shows_what_lasted_longest() -> None:
    timeline = lived((R, ""), (S, "host"), (R, ""), (S, "host"), (S, "host"), each_s=0.25, ended=True)
    assert [cell and cell.state for cell in cells_of(timeline, 10.0, 11.25, 1)] == [S]


@pytest.mark.parametrize(("began_s", "ended_s", "width"), [(10.0, 10.0, 3), (10.0, 9.0, 3), (10.0, 12.0, 0)])
def test_no_time_or_no_room(began_s: float, ended_s: float, width: int) -> None:
    assert cells_of(lived((R, ""), (R, "")), began_s, ended_s, width) == [None] * width


@pytest.mark.parametrize(("span_s", "step_s"), [(1.0, 0.1), (12.0, 2), (60.0, 10), (1e5, 10800)])
def test_marks_are_at_round_times(span_s: float, step_s: float) -> None:
    assert tick_step_s(span_s, 100, 10) == step_s


def test_a_time_in_which_nobody_watched_is_left_open() -> None:
    timeline = lived((R, ""), (S, "host"))
    last = timeline.seen_s
    timeline.note(timeline.view, last + 10.0, unwatched=True)
    timeline.note(timeline.view, last + 11.0)
    states = [cell and cell.state for cell in cells_of(timeline, last - 1.0, last + 11.0, 12)]
    assert states == [R, *[None] * 10, S]


@pytest.mark.parametrize(
    ("state", "place", "glyph"),
    [
        (W, "", "░"), (F, "", "▓"), (R, "", "█"), (S, "", "-"), (S, "host", "⌂"), (S, "GPU 2, GPU 6", "+"),
        (S, "GPU 4", "4"), (S, "GPU 10", "a"), (S, "GPU 12", "c"), (S, "GPU 31", "v"), (S, "GPU 62", "#"),
    ],
)  # fmt: skip
def test_a_place_is_one_character_that_no_other_place_has(state: PromptState, place: str, glyph: str) -> None:
    assert glyph_of(Span(state, place, 0.0)) == glyph


def test_a_time_that_nobody_watched_is_a_dot() -> None:
    assert glyph_of(None) == "·"

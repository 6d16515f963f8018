"""A prompt's life as the snapshots showed it: its slices, and what stands in each cell of a line of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from aquahost.messages.prompts import PromptState
from aquahost.messages.words import AT_WORK
from aquahost_tui.store.timelines import Span, Timeline

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The times in which a prompt was computed; those shorter than the time between two snapshots can be missed."""

    count: int
    mean_s: float
    longest_gap_s: float
    """The longest time between two of them, or since the last one."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    span: Span
    ended_s: float


def accepted_s(timeline: Timeline) -> float:
    """When the daemon took the prompt, on the feed's clock."""
    return timeline.seen_s - timeline.view.age_s


def until_s(timeline: Timeline) -> float:
    """Up to when its life is known."""
    return timeline.seen_s if timeline.ended_s is None else timeline.ended_s


def slices_of(timeline: Timeline) -> Slices:
    """How often, how long and how far apart the prompt was computed."""
    worked: list[list[float]] = []
    for stretch in _stretches(timeline):
        if stretch.span.state not in AT_WORK:
            continue
        if worked and worked[-1][1] == stretch.span.began_s:
            worked[-1][1] = stretch.ended_s
        else:
            worked.append([stretch.span.began_s, stretch.ended_s])
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(worked)]
    if worked:
        gaps.append(until_s(timeline) - worked[-1][1])
    count = len(worked)
    mean_s = sum(ended_s - began_s for began_s, ended_s in worked) / count if count else 0.0
    return Slices(count=count, mean_s=mean_s, longest_gap_s=max(gaps, default=0.0))


def cells_of(timeline: Timeline, began_s: float, ended_s: float, width: int) -> list[Span | None]:
    """What stands in each of `width` cells from `began_s` to `ended_s`: the way that the prompt stood longest in that
    time, or None where nobody watched."""
    if width <= 0 or ended_s <= began_s:
        return [None] * max(width, 0)
    each_s = (ended_s - began_s) / width
    shares: list[dict[tuple[PromptState, str], tuple[float, Span]]] = [{} for _ in range(width)]
    for stretch in _stretches(timeline):
        first = max(int((stretch.span.began_s - began_s) / each_s), 0)
        for at in range(first, width):
            left_s = began_s + at * each_s
            if left_s >= stretch.ended_s:
                break
            part_s = min(stretch.ended_s, left_s + each_s) - max(stretch.span.began_s, left_s)
            if part_s > 0:
                key = (stretch.span.state, stretch.span.place)
                before_s = shares[at][key][0] if key in shares[at] else 0.0
                shares[at][key] = (before_s + part_s, stretch.span)
    return [max(share.values(), key=lambda pair: pair[0])[1] if share else None for share in shares]


def tick_step_s(span_s: float, width: int, least_cells: int) -> float:
    """A round time between two marks of an axis, so that they stand at least so many cells apart."""
    wish_s = span_s / max(width, 1) * least_cells
    return next((step_s for step_s in _STEPS_S if step_s >= wish_s), _STEPS_S[-1] * max(1, -(-wish_s // _STEPS_S[-1])))


def _stretches(timeline: Timeline) -> Iterator[_Stretch]:
    spans = list(timeline.spans)
    nexts = [span.began_s for span in spans[1:]] + [until_s(timeline)]
    ends = [next_s if span.ended_s is None else span.ended_s for span, next_s in zip(spans, nexts, strict=True)]
    for span, ended_s in zip(spans, ends, strict=True):
        if ended_s > span.began_s:
            yield _Stretch(span, ended_s)

"""Step times as a live worker has them, from those that were measured alone and a log of steps that it served."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from aquahost.profiles.step_costs import FittedSteps
from aquahost.worker.step_log import LoggedStep

_FEWEST = 5
"""Steps of a group whose mean counts."""
_GROUPS = (1, 2, 3, 5, 8, 12, 17, 24, 34, 48)
"""Least widths of groups of steps that are taken together."""
_PAUSE = 4.0
"""A pass that took so many times its group's median met something else than a step: it waited for memory, or for the
machine."""


def served_steps(alone: FittedSteps, logged: Sequence[LoggedStep]) -> FittedSteps:
    """The costs of steps among a worker's other work: what decodes take by width as logged, but for their context;
    steps with input as measured alone, times what they took more on the whole. Steps that read elsewhere or moved
    prompts are left out. Raises ValueError if too few are left."""
    plain = [one for one in logged if not one.remote_blocks and not one.moves]
    groups: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for one in plain:
        if not one.shape.prefill:
            group = max(least for least in _GROUPS if least <= one.shape.decodes)
            groups[group].append((one.shape.decodes, one.seconds - alone.context_token_s * one.shape.context))
    widths, decode_s = _widths([_steady(group) for _, group in sorted(groups.items()) if len(group) >= _FEWEST])
    prefills = [one for one in plain if one.shape.prefill]
    if len(widths) < 2 or len(prefills) < _FEWEST:
        raise ValueError(f"{len(plain)} logged steps are too few to tell what steps take")
    ratios = sorted(one.seconds / alone.seconds(one.shape) for one in prefills)
    times = statistics.fmean(one for one in ratios if one <= _PAUSE * ratios[len(ratios) // 2])
    slower = msgspec.structs.replace(
        alone,
        decode_widths=widths,
        decode_s=decode_s,
        prefill_s=tuple(times * one for one in alone.prefill_s),
        pair_s=times * alone.pair_s,
        prefill_context_token_s=times * alone.prefill_context_token_s,
        chunk_s=times * alone.chunk_s,
        mixed_s=times * alone.mixed_s,
    )
    errors = [abs(slower.seconds(one.shape) / one.seconds - 1) for one in plain]
    return msgspec.structs.replace(slower, error=statistics.median(errors), worst_error=max(errors))


def _steady(group: list[tuple[int, float]]) -> list[tuple[int, float]]:
    median_s = statistics.median(seconds for _, seconds in group)
    return [(width, seconds) for width, seconds in group if seconds <= _PAUSE * median_s]


def _widths(groups: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Mean width and mean time of each group, never less than that of the narrower ones."""
    widths: list[int] = []
    times: list[float] = []
    for group in groups:
        width = round(statistics.fmean(width for width, _ in group))
        if not widths or width > widths[-1]:
            widths.append(width)
            times.append(max([0.0, *times[-1:], statistics.fmean(seconds for _, seconds in group)]))
    return tuple(widths), tuple(times)

"""What a language model costs a live worker, from what was measured alone and a log of steps that it served."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import FittedSteps
from aquahost.worker.step_log import LoggedStep

_FEWEST = 5
"""Steps of a group whose mean counts."""
_GROUPS = (1, 2, 3, 5, 8, 12, 17, 24, 34, 48)
"""Least widths of groups of steps that are taken together."""
_PAUSE = 4.0
"""A pass that took so many times its group's median met something else than a step: it waited for memory, or for the
machine."""


def served_costs(alone: LanguageCosts, logged: Sequence[LoggedStep], block_read_s: float) -> LanguageCosts:
    """The costs among a worker's other work. `block_read_s`: what reading one block in place takes by its link's rate,
    which simulations add by themselves.

    Of steps that only decode by width as logged, but for their context and what they read elsewhere; of steps with
    input what was measured alone times a factor, and something for each prompt that decodes beside it. Steps that move
    prompts are left out. Raises ValueError if there are too few steps.
    """
    assert isinstance(alone.step, FittedSteps)
    still = [
        msgspec.structs.replace(one, seconds=one.seconds - block_read_s * one.remote_blocks)
        for one in logged
        if not one.moves and one.seconds > 2 * block_read_s * one.remote_blocks
    ]
    return msgspec.structs.replace(alone, step=_steps(alone.step, still))


def _steps(alone: FittedSteps, still: Sequence[LoggedStep]) -> FittedSteps:
    groups: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for one in still:
        if not one.shape.prefill:
            group = max(least for least in _GROUPS if least <= one.shape.decodes)
            groups[group].append((one.shape.decodes, one.seconds - alone.context_token_s * one.shape.context))
    widths, decode_s = _widths([_steady(group) for _, group in sorted(groups.items()) if len(group) >= _FEWEST])
    prefills = [one for one in still if one.shape.prefill]
    if len(widths) < 2 or len(prefills) < _FEWEST:
        raise ValueError(f"{len(still)} logged steps are too few to tell what steps take")
    times, mixed_s = _prefill_terms(alone, prefills)
    served = msgspec.structs.replace(
        alone,
        decode_widths=widths,
        decode_s=decode_s,
        prefill_s=tuple(times * one for one in alone.prefill_s),
        pair_s=times * alone.pair_s,
        prefill_context_token_s=times * alone.prefill_context_token_s,
        chunk_s=times * alone.chunk_s,
        mixed_s=mixed_s,
    )
    errors = [abs(served.seconds(one.shape) / one.seconds - 1) for one in still]
    return msgspec.structs.replace(served, error=statistics.median(errors), worst_error=max(errors))


def _prefill_terms(alone: FittedSteps, prefills: Sequence[LoggedStep]) -> tuple[float, float]:
    """How many times longer input takes, and what each prompt that decodes beside it adds."""
    import numpy as np
    from scipy.optimize import nnls

    rows, times = [], []
    for one in prefills:
        context_s = alone.context_token_s * one.shape.context
        input_s = alone.seconds(one.shape._replace(decodes=0, context=0))
        if one.seconds <= _PAUSE * alone.seconds(one.shape):
            rows.append((input_s / one.seconds, one.shape.decodes / one.seconds))
            times.append(max(0.0, one.seconds - context_s) / one.seconds)
    if len(rows) < _FEWEST:
        raise ValueError(f"{len(rows)} logged steps with input are too few to tell what they take")
    (factor, mixed_s), _ = nnls(np.array(rows), np.array(times))
    return float(factor), float(mixed_s)


def _steady(group: list[tuple[int, float]]) -> list[tuple[int, float]]:
    median_s = statistics.median(seconds for _, seconds in group)
    return [(width, seconds) for width, seconds in group if seconds <= _PAUSE * median_s]


def _widths(groups: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Mean width and mean time of each group."""
    widths: list[int] = []
    times: list[float] = []
    for group in groups:
        width = round(statistics.fmean(width for width, _ in group))
        if not widths or width > widths[-1]:
            widths.append(width)
            times.append(max(0.0, statistics.fmean(seconds for _, seconds in group)))
    return tuple(widths), tuple(times)

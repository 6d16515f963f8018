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
    """The costs among a worker's other work. `block_read_s`: what reading one block in place takes by its link's rate.

    Of steps that only decode by width as logged, but for their context; of steps with input what was measured alone
    times a factor, and something for each prompt that decodes beside it; what is over in steps that read elsewhere, or
    that move prompts, goes to those. Raises ValueError if there are too few steps.
    """
    assert isinstance(alone.step, FittedSteps)
    plain = [one for one in logged if not one.remote_blocks and not one.moves]
    step = _plain_steps(alone.step, plain)
    reading = [one for one in logged if one.remote_blocks and not one.moves and not one.shape.prefill]
    remote_s = _excess_s(step, reading, [block_read_s * one.remote_blocks for one in reading])
    moving = [one for one in logged if one.moves]
    besides_s = [(block_read_s * one.remote_blocks + remote_s) if one.remote_blocks else 0.0 for one in moving]
    moves = statistics.fmean(one.moves for one in moving) if moving else 1.0
    transfer_s = _excess_s(step, moving, besides_s) / moves
    return msgspec.structs.replace(alone, step=step, remote_s=remote_s, transfer_s=max(alone.transfer_s, transfer_s))


def _plain_steps(alone: FittedSteps, plain: Sequence[LoggedStep]) -> FittedSteps:
    groups: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for one in plain:
        if not one.shape.prefill:
            group = max(least for least in _GROUPS if least <= one.shape.decodes)
            groups[group].append((one.shape.decodes, one.seconds - alone.context_token_s * one.shape.context))
    widths, decode_s = _widths([_steady(group) for _, group in sorted(groups.items()) if len(group) >= _FEWEST])
    prefills = [one for one in plain if one.shape.prefill]
    if len(widths) < 2 or len(prefills) < _FEWEST:
        raise ValueError(f"{len(plain)} logged steps are too few to tell what steps take")
    times, mixed_s = _prefill_terms(alone, prefills)
    slower = msgspec.structs.replace(
        alone,
        decode_widths=widths,
        decode_s=decode_s,
        prefill_s=tuple(times * one for one in alone.prefill_s),
        pair_s=times * alone.pair_s,
        prefill_context_token_s=times * alone.prefill_context_token_s,
        chunk_s=times * alone.chunk_s,
        mixed_s=mixed_s,
    )
    errors = [abs(slower.seconds(one.shape) / one.seconds - 1) for one in plain]
    return msgspec.structs.replace(slower, error=statistics.median(errors), worst_error=max(errors))


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


def _excess_s(step: FittedSteps, logged: Sequence[LoggedStep], besides_s: Sequence[float]) -> float:
    """Mean of what steps took beyond what is known of them; 0 where they took less."""
    over = [one.seconds - step.seconds(one.shape) - more_s for one, more_s in zip(logged, besides_s, strict=True)]
    if len(over) < _FEWEST:
        return 0.0
    typical_s = statistics.median(one.seconds for one in logged)
    return max(0.0, statistics.fmean(one for one in over if abs(one) <= _PAUSE * typical_s))


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

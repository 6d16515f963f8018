"""What a language model costs a live worker, from what was measured alone and a log of steps that it served."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import msgspec

from aquahost.profiler.step_fit import width_shares
from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import FittedSteps
from aquahost.worker.step_log import LoggedStep

_FEWEST = 5
"""Steps near a width whose mean counts."""
_WIDTHS = (1, 2, 4, 6, 9, 14, 20, 28, 40, 56)
"""Numbers of decoding prompts between which lines are drawn."""
_PAUSE = 4.0
"""A pass that took so many times what it takes alone met something else than a step: it waited for memory, or for the
machine."""


def served_costs(alone: LanguageCosts, logged: Sequence[LoggedStep]) -> LanguageCosts:
    """The costs among a worker's other work, without what it read elsewhere, which simulations add by themselves.

    Steps that only decode cost by width and context as logged; those with input what was measured alone times a factor,
    something for each prompt that decodes beside it, and a constant. Steps that move prompts are left out. Raises
    ValueError if there are too few steps.
    """
    assert isinstance(alone.step, FittedSteps)
    still = [msgspec.structs.replace(one, seconds=one.seconds - one.read_s) for one in logged if not one.moves]
    usual = [one for one in still if one.seconds <= _PAUSE * alone.step.seconds(one.shape)]
    return msgspec.structs.replace(alone, step=_steps(alone.step, usual))


def _steps(alone: FittedSteps, still: Sequence[LoggedStep]) -> FittedSteps:
    decodes = [one for one in still if not one.shape.prefill]
    prefills = [one for one in still if one.shape.prefill]
    near = Counter(min(_WIDTHS, key=lambda width, at=one.shape.decodes: abs(width - at)) for one in decodes)  # type: ignore[misc]
    widths = tuple(width for width in _WIDTHS if near[width] >= _FEWEST)
    if len(widths) < 2 or len(prefills) < _FEWEST:
        raise ValueError(f"{len(still)} logged steps are too few to tell what steps take")
    *decode_s, context_s = _least_squares(
        alone, decodes, [[*width_shares(widths, one.shape.decodes), one.shape.context] for one in decodes]
    )
    served = msgspec.structs.replace(
        alone, decode_widths=widths, decode_s=tuple(decode_s), context_token_s=context_s, mixed_s=0.0
    )
    times, mixed_s, more_s = _prefill_terms(alone, served, prefills)
    served = msgspec.structs.replace(
        served,
        prefill_s=tuple(more_s + times * one for one in alone.prefill_s),
        pair_s=times * alone.pair_s,
        prefill_context_token_s=times * alone.prefill_context_token_s,
        chunk_s=times * alone.chunk_s,
        mixed_s=mixed_s,
    )
    errors = [abs(served.seconds(one.shape) / one.seconds - 1) for one in still]
    return msgspec.structs.replace(served, error=statistics.median(errors), worst_error=max(errors))


def _prefill_terms(alone: FittedSteps, served: FittedSteps, prefills: Sequence[LoggedStep]) -> Sequence[float]:
    """How many times longer input takes, what each prompt that decodes beside it adds, and the loop around a step."""
    rows, inputs = [], []
    for one in prefills:
        rows.append([alone.seconds(one.shape._replace(decodes=0, context=0)), one.shape.decodes, 1.0])
        context_s = served.context_token_s * one.shape.context
        inputs.append(msgspec.structs.replace(one, seconds=max(0.0, one.seconds - context_s)))
    return _least_squares(alone, inputs, rows)


def _least_squares(alone: FittedSteps, steps: Sequence[LoggedStep], rows: Sequence[Sequence[float]]) -> list[float]:
    """What each column costs, none below 0. Each step counts by what it takes alone: weighed by the time that it took
    instead, slow steps would count for less than quick ones of the same shape, and all sums come out too short."""
    import numpy as np
    from scipy.optimize import nnls

    weights = np.array([1 / alone.seconds(one.shape) for one in steps])
    table = np.array(rows) * weights[:, None]
    scale = np.maximum(table.max(axis=0), 1e-300)
    solution, _ = nnls(table / scale, np.array([one.seconds for one in steps]) * weights)
    return [float(value) for value in solution / scale]

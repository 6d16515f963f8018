"""From measured steps to `FittedSteps`, by non-negative least squares of relative errors. Pure."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.profiles.step_costs import FittedSteps, StepShape

_MARGINALS = 5
"""Context, pairs, tokens before chunks, further chunks, decodes beside prefill: in this order behind the widths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """A step of some shape, and the median time of its repeats."""

    shape: StepShape
    seconds: float


def fit_steps(measured: Sequence[MeasuredStep]) -> FittedSteps:
    """The costs that come nearest to all that was measured, with their errors.

    Steps without prefill give the decode widths, those with prefill alone, at the begin of one prompt, the prefill
    widths. Raises ValueError if there are none of either.
    """
    import numpy as np
    from scipy.optimize import nnls

    decodes = tuple(sorted({one.shape.decodes for one in measured if not one.shape.prefill}))
    prefills = tuple(sorted({one.shape.prefill for one in measured if _is_plain_prefill(one.shape)}))
    if not decodes or not prefills:
        raise ValueError("steps that only decode and steps that only prefill are both needed")
    rows = np.array([_row(one.shape, decodes, prefills) for one in measured])
    times = np.array([one.seconds for one in measured])
    # Each row by its time, so that short steps count as much as long ones; each column by its size, for the solver.
    relative = rows / times[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    solution, _ = nnls(relative / scale, np.ones(len(measured)))
    costs = _costs([float(value) for value in solution / scale], decodes, prefills)
    errors = [abs(costs.seconds(one.shape) / one.seconds - 1) for one in measured]
    return _costs([float(value) for value in solution / scale], decodes, prefills, errors)


def _is_plain_prefill(shape: StepShape) -> bool:
    return bool(shape.prefill) and not shape.decodes and not shape.prefill_context and shape.chunks == 1


def _row(shape: StepShape, decodes: tuple[int, ...], prefills: tuple[int, ...]) -> list[float]:
    """What each unknown counts in a step: the same sum that `FittedSteps.seconds` makes."""
    row = [0.0] * (len(decodes) + len(prefills) + _MARGINALS)
    if shape.prefill:
        row[len(decodes) : -_MARGINALS] = width_shares(prefills, shape.prefill)
        marginals = (shape.pairs, shape.prefill_context, max(0, shape.chunks - 1), shape.decodes)
        row[-_MARGINALS + 1 :] = map(float, marginals)
    else:
        row[: len(decodes)] = width_shares(decodes, shape.decodes)
    row[-_MARGINALS] = float(shape.context)
    return row


def width_shares(widths: tuple[int, ...], width: int) -> list[float]:
    """How much each of `widths` counts at `width`, as `interpolate` draws the line between the two nearest."""
    shares = [0.0] * len(widths)
    if width <= widths[0] or len(widths) == 1:
        shares[0] = 1.0 if width <= widths[0] else width / widths[0]
        return shares
    at = min(bisect_left(widths, width), len(widths) - 1)
    share = (width - widths[at - 1]) / (widths[at] - widths[at - 1])
    shares[at - 1], shares[at] = 1 - share, share
    return shares


def _costs(
    solution: Sequence[float], decodes: tuple[int, ...], prefills: tuple[int, ...], errors: Sequence[float] = (0.0,)
) -> FittedSteps:
    context_s, pair_s, before_s, chunk_s, mixed_s = solution[-_MARGINALS:]
    return FittedSteps(
        decode_widths=decodes,
        decode_s=tuple(solution[: len(decodes)]),
        context_token_s=context_s,
        prefill_widths=prefills,
        prefill_s=tuple(solution[len(decodes) : len(decodes) + len(prefills)]),
        pair_s=pair_s,
        prefill_context_token_s=before_s,
        chunk_s=chunk_s,
        mixed_s=mixed_s,
        error=statistics.median(errors),
        worst_error=max(errors),
    )

"""Fits find the costs that steps were made of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.profiler.step_fit import MeasuredStep, fit_steps
from aquahost.profiles.step_costs import FittedSteps, StepShape

DECODES, PREFILLS = (1, 4, 16), (16, 64, 256)
times = st.floats(1e-3, 1e-1)
small = st.floats(0, 1e-6)


@st.composite
def fitted(draw: st.DrawFn) -> FittedSteps:
    """Costs of any machine; wider steps take no less."""
    return FittedSteps(
        decode_widths=DECODES,
        decode_s=tuple(sorted(draw(times) for _ in DECODES)),
        context_token_s=draw(small),
        prefill_widths=PREFILLS,
        prefill_s=tuple(sorted(draw(times) for _ in PREFILLS)),
        pair_s=draw(small),
        mixed_s=draw(st.floats(0, 1e-3)),
        prefill_context_token_s=draw(small),
        chunk_s=draw(st.floats(0, 1e-3)),
    )


def shapes() -> list[StepShape]:
    found = [StepShape(decodes=width, context=width * each) for width in DECODES for each in (8, 500, 4000)]
    found += [StepShape(decodes=0, prefill=width, pairs=width * (width + 1) / 2) for width in PREFILLS]
    for width in PREFILLS:
        found.append(StepShape(decodes=0, prefill=width, pairs=width * 1000.0, prefill_context=1000))
        found.append(StepShape(decodes=0, prefill=width, pairs=width * 4000.0, prefill_context=4000))
        found.append(StepShape(decodes=0, prefill=width, pairs=width * 2.0, chunks=4))
        found.append(StepShape(decodes=8, context=800, prefill=width, pairs=width * 8.0))
    return found


@settings(deadline=None, max_examples=40)
@given(fitted())
def test_exact_times_give_the_costs_back(true: FittedSteps) -> None:
    found = fit_steps([MeasuredStep(shape=shape, seconds=true.seconds(shape)) for shape in shapes()])
    assert found.worst_error < 0.01
    for shape in (StepShape(decodes=7, context=3000), StepShape(decodes=3, context=90, prefill=100, pairs=5000.0)):
        assert found.seconds(shape) == pytest.approx(true.seconds(shape), rel=0.02)


@settings(deadline=None, max_examples=40)
@given(fitted(), st.lists(st.floats(0.8, 1.25), min_size=24, max_size=24))
def test_noise_makes_no_cost_negative_and_is_told_as_error(true: FittedSteps, noise: list[float]) -> None:
    measured = [
        MeasuredStep(shape=shape, seconds=true.seconds(shape) * factor)
        for shape, factor in zip(shapes(), noise, strict=True)
    ]
    found = fit_steps(measured)
    values = (*found.decode_s, *found.prefill_s, found.context_token_s, found.pair_s, found.mixed_s, found.chunk_s)
    assert min(*values, found.prefill_context_token_s) >= 0
    errors = [abs(found.seconds(one.shape) / one.seconds - 1) for one in measured]
    assert found.worst_error == pytest.approx(max(errors))
    assert found.error <= found.worst_error


def test_steps_of_both_kinds_are_needed() -> None:
    with pytest.raises(ValueError, match="both"):
        fit_steps([MeasuredStep(shape=StepShape(decodes=1, context=4), seconds=0.01)])

"""Served costs come from logged steps: reads are taken off, pauses and moves left out."""

from __future__ import annotations

import random

import pytest

from aquahost.profiler.served import served_costs
from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import FittedSteps, StepShape
from aquahost.worker.step_log import LoggedStep

ALONE = FittedSteps(
    decode_widths=(1, 64), decode_s=(0.002, 0.01), context_token_s=1e-6, prefill_widths=(16, 512),
    prefill_s=(0.003, 0.03), pair_s=1e-8, mixed_s=1e-4,
)  # fmt: skip
READ_S = 1e-5


def logged(times: float, beside_s: float) -> list[LoggedStep]:
    """Steps that take so many times as long as alone, and something for each prompt beside input."""
    chance, steps = random.Random(1), []
    for at in range(600):
        width, remote = chance.randint(1, 60), chance.choice([0, 50])
        shape = StepShape(decodes=width, context=width * chance.randint(10, 400))
        seconds = times * ALONE.seconds(shape._replace(context=0)) + 1e-6 * shape.context + READ_S * remote
        steps.append(LoggedStep(shape, seconds if at % 50 else 20 * seconds, READ_S * remote, 0))
        given = StepShape(decodes=width, prefill=chance.randint(16, 512))
        alone_s = ALONE.seconds(given._replace(decodes=0))
        steps.append(LoggedStep(given, times * alone_s + beside_s * width, 0.0, 0))
        steps.append(LoggedStep(shape, 9.0, 0.0, 3))
    return steps


def costs() -> LanguageCosts:
    return LanguageCosts(weights_bytes=1, kv_token_bytes=1, peak_bytes=1, context_tokens=99, step=ALONE)


@pytest.mark.parametrize("times", [1.0, 2.5])
def test_what_a_live_worker_takes_is_found(times: float) -> None:
    found = served_costs(costs(), logged(times, 3e-4)).step
    assert isinstance(found, FittedSteps)
    for width in (4, 20, 50):
        shape = StepShape(decodes=width, context=0)
        assert found.seconds(shape) == pytest.approx(times * ALONE.seconds(shape), rel=0.1)
    assert found.mixed_s == pytest.approx(3e-4, rel=0.05)
    assert found.prefill_s == pytest.approx(tuple(times * one for one in ALONE.prefill_s), rel=0.05)
    assert found.error < 0.1


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        served_costs(costs(), logged(1.0, 0.0)[:4])

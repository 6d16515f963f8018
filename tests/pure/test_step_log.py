"""A worker's step log has the steps that its engine planned, one line each, pauses apart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from aquahost.scheduling.plan import Chunk, StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.worker.step_log import StepLog, read_steps


def test_steps_in_a_row_are_logged_and_pauses_are_not(tmp_path: Path) -> None:
    log = StepLog(tmp_path, "org/chat")
    log.watch(SimpleNamespace(sequences=SimpleNamespace(read_wait_s=0.25)))
    one = ScheduledPrompt(id="a", tokens=9, max_tokens=20, computed=8, blocks=2, local=1)
    new = ScheduledPrompt(id="b", tokens=30, max_tokens=40, computed=4)
    plan = StepPlan(decodes=[one], chunks=[Chunk(new, 4, 16)])
    for step in (plan, plan, StepPlan(), plan, plan):
        log.planned(step)
        log.passed()
    log.passed()  # nothing was planned: the loop waited
    log.close()
    (path,) = tmp_path.iterdir()
    steps = read_steps(path)
    assert len(steps) == 2, "the first after each pause has no step before it"
    shape = steps[0].shape
    assert (shape.decodes, shape.context, shape.prefill, shape.prefill_context, shape.chunks) == (1, 9, 16, 4, 1)
    assert shape.pairs == 16 * 4 + 16 * 17 // 2
    assert steps[0].read_s == 0.25
    assert steps[0].seconds >= 0

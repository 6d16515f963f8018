"""FCFS scheduling: no block is lost, everyone finishes, the step's budget holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.scheduling.fcfs import FcfsScheduler
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt


def make_scheduler(
    *, blocks: int = 8, block_tokens: int = 4, step_tokens: int = 16, max_batch: int = 8, headroom_tokens: int = 8
) -> FcfsScheduler:
    return FcfsScheduler(
        blocks=blocks,
        block_tokens=block_tokens,
        step_tokens=step_tokens,
        max_batch=max_batch,
        headroom_tokens=headroom_tokens,
    )


def prompt(name: str, tokens: int, output: int) -> ScheduledPrompt:
    return ScheduledPrompt(id=name, tokens=tokens, max_tokens=tokens + output)


def run_step(scheduler: FcfsScheduler) -> tuple[StepPlan, list[str]]:
    """Plan, commit and end what is complete; return the plan and the ids that finished."""
    plan = scheduler.plan()
    scheduler.check()
    scheduler.commit(plan)
    computed = [*plan.decodes, *(chunk.prompt for chunk in plan.chunks)]
    done = [p.id for p in computed if p.tokens >= p.max_tokens]
    for prompt_id in done:
        scheduler.remove(prompt_id)
    scheduler.check()
    return plan, done


def test_a_new_prompt_is_prefilled_at_once_and_then_decodes() -> None:
    scheduler = make_scheduler()
    scheduler.add(prompt("a", 5, 2))
    plan, _ = run_step(scheduler)
    assert [(c.prompt.id, c.start, c.count) for c in plan.chunks] == [("a", 0, 5)]
    assert [p.id for p in plan.admitted] == ["a"]
    plan, done = run_step(scheduler)
    assert [p.id for p in plan.decodes] == ["a"]
    assert done == ["a"]
    assert scheduler.free_blocks == 8


def test_a_long_prompt_is_prefilled_in_chunks_and_decodes_come_first() -> None:
    scheduler = make_scheduler(blocks=32, step_tokens=8)
    scheduler.add(prompt("short", 2, 10))
    run_step(scheduler)
    scheduler.add(prompt("long", 20, 1))
    seen = []
    for _ in range(3):
        plan, _ = run_step(scheduler)
        assert [p.id for p in plan.decodes] == ["short"]
        seen += [(c.start, c.count, c.completes) for c in plan.chunks]
    # After 7 + 7 tokens 6 are left, which fit beside the decoding prompt.
    plan_starts = [(start, count) for start, count, _ in seen]
    assert plan_starts == [(0, 7), (7, 7), (14, 6)]


def test_prompts_begin_in_the_order_they_came_even_if_a_later_one_would_fit() -> None:
    scheduler = make_scheduler(blocks=8, headroom_tokens=0)
    scheduler.add(prompt("a", 16, 4))
    scheduler.add(prompt("b", 20, 4))
    scheduler.add(prompt("c", 2, 4))
    plan, _ = run_step(scheduler)
    assert [p.id for p in plan.admitted] == ["a"]
    assert scheduler.waiting == 2


def test_the_youngest_gives_way_when_blocks_run_out_and_goes_on_first() -> None:
    scheduler = make_scheduler(blocks=4, block_tokens=2, headroom_tokens=0)
    scheduler.add(prompt("old", 3, 6))
    scheduler.add(prompt("young", 3, 6))
    scheduler.add(prompt("late", 1, 1))
    run_step(scheduler)
    preempted: list[str] = []
    admitted: list[str] = []
    for _ in range(40):
        plan, _ = run_step(scheduler)
        preempted += [p.id for p in plan.preempted]
        admitted += [p.id for p in plan.admitted]
    assert preempted[0] == "young"
    assert "old" not in preempted
    assert admitted.index("young") < admitted.index("late")


def test_a_prompt_that_could_never_run_is_refused() -> None:
    scheduler = make_scheduler(blocks=2, block_tokens=4)
    scheduler.add(prompt("fits", 8, 1))
    with pytest.raises(ValueError, match="at most 9 fit"):
        scheduler.add(prompt("too long", 9, 1))
    with pytest.raises(ValueError, match="already"):
        scheduler.add(prompt("fits", 1, 1))


def test_removing_an_unknown_prompt_does_nothing() -> None:
    assert make_scheduler().remove("nobody") is None


requests = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(0, 30)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    requests=requests,
    blocks=st.integers(1, 14),
    block_tokens=st.sampled_from([1, 3, 4, 16]),
    step_tokens=st.integers(1, 24),
    max_batch=st.integers(1, 8),
    headroom_tokens=st.sampled_from([0, 1, 8, 64]),
    cancel=st.sets(st.integers(0, 11)),
)
def test_no_block_is_lost_and_everyone_finishes(
    requests: list[tuple[int, int, int]],
    blocks: int,
    block_tokens: int,
    step_tokens: int,
    max_batch: int,
    headroom_tokens: int,
    cancel: set[int],
) -> None:
    scheduler = make_scheduler(
        blocks=blocks,
        block_tokens=block_tokens,
        step_tokens=step_tokens,
        max_batch=max_batch,
        headroom_tokens=headroom_tokens,
    )
    arrivals = [
        (at, prompt(str(i), tokens, output))
        for i, (tokens, output, at) in enumerate(requests)
        if tokens + output <= scheduler.max_tokens
    ]
    open_ids = {p.id for _, p in arrivals}
    for step in range(20_000):
        for at, new in arrivals:
            if at == step:
                scheduler.add(new)
        if step in cancel and str(step) in open_ids and scheduler.remove(str(step)):
            open_ids.discard(str(step))
        plan, done = run_step(scheduler)
        tokens = len(plan.decodes) + sum(chunk.count for chunk in plan.chunks)
        assert tokens <= step_tokens
        assert len(plan.decodes) + len(plan.chunks) <= max_batch
        assert tokens or not scheduler.waiting or plan.preempted, "nothing runs though a prompt waits"
        open_ids -= set(done)
        if not open_ids and step > 30:
            break
    assert not open_ids
    assert scheduler.free_blocks == blocks
    assert scheduler.waiting == scheduler.running == 0

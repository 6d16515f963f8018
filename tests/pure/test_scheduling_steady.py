"""Many steps taken at once are the same steps taken one by one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.prompt import ScheduledPrompt
from scheduled_host import ScheduledHost

REQUESTS = st.lists(st.tuples(st.integers(1, 20), st.integers(2, 40), st.integers(0, 30)), min_size=1, max_size=10)


def host(policy: str, local: int, remote: int) -> ScheduledHost:
    return ScheduledHost(local=local, remote=remote, policy=make_policy(policy, paging_budget=0.1), copy_steps=1)


def story(
    run: ScheduledHost, requests: list[tuple[int, int, int]], *, leaps: bool, tenants: int = 1
) -> dict[str, tuple[int, float]]:
    """When each prompt ended, by step, and what it had. With several tenants rounding decides between equals."""
    ends: dict[str, tuple[int, float]] = {}
    due = sorted(enumerate(requests), key=lambda one: one[1][2])
    skipped = 0
    while due or run.live:
        while due and due[0][1][2] <= run.step + skipped:
            number, (tokens, output, _) = due.pop(0)
            run.add(
                ScheduledPrompt(
                    id=f"p{number}", tokens=tokens, max_tokens=tokens + output, tenant=f"t{number % tenants}"
                )
            )
        if leaps and not run.moving:
            steady = run.scheduler.steady_steps(run.room())
            steady = min(steady, due[0][1][2] - run.step - skipped) if due else steady
            if steady > 0:
                before = run.room().local
                taken = run.scheduler.advance([run.step_s] * steady)
                assert run.room().local == before - taken
                run.scheduler.check()
                skipped += steady
                run.now_s += steady * run.step_s
                continue
        services = {name: run.scheduler.policy.service_s(name) for name in run.live}
        _, done = run.run_step()
        for name in done:
            ends[name] = run.step + skipped, services[name]
        assert run.step < 5000
    return ends


@pytest.mark.parametrize("policy", ["fair", "fcfs"])
@given(requests=REQUESTS)
@settings(max_examples=30, deadline=None)
def test_leaps_change_nothing_where_everything_fits(policy: str, requests: list[tuple[int, int, int]]) -> None:
    plain = story(host(policy, 200, 0), requests, leaps=False)
    leapt = story(host(policy, 200, 0), requests, leaps=True)
    assert {name: step for name, (step, _) in leapt.items()} == {name: step for name, (step, _) in plain.items()}
    for name, (_, had) in plain.items():
        assert leapt[name][1] == pytest.approx(had, rel=1e-9)


@given(requests=REQUESTS, local=st.integers(16, 60), remote=st.sampled_from([0, 40]))
@settings(max_examples=30, deadline=None)
def test_leaps_change_nothing_in_the_order_of_arrival(
    requests: list[tuple[int, int, int]], local: int, remote: int
) -> None:
    plain = story(host("fcfs", local, remote), requests, leaps=False)
    leapt = story(host("fcfs", local, remote), requests, leaps=True)
    assert {name: step for name, (step, _) in leapt.items()} == {name: step for name, (step, _) in plain.items()}


@given(requests=REQUESTS, local=st.integers(16, 60), remote=st.sampled_from([0, 40]))
@settings(max_examples=30, deadline=None)
def test_with_slices_everyone_ends_all_the_same(requests: list[tuple[int, int, int]], local: int, remote: int) -> None:
    """Not at the same step: a slice's length is worked out now and then, which leaps shift."""
    leapt = story(host("fair", local, remote), requests, leaps=True, tenants=2)
    assert len(leapt) == len(requests)


def test_leaps_are_taken_where_nothing_else_happens() -> None:
    run = host("fair", 60, 0)
    run.add(ScheduledPrompt(id="one", tokens=4, max_tokens=40))
    assert run.scheduler.steady_steps(run.room()) == 0, "it has not begun"
    run.run_step()
    assert run.scheduler.steady_steps(run.room()) == 34
    run.add(ScheduledPrompt(id="two", tokens=4, max_tokens=40))
    assert run.scheduler.steady_steps(run.room()) == 0, "one waits"


def test_a_leap_ends_where_local_memory_does() -> None:
    run = host("fair", 4, 8)
    run.add(ScheduledPrompt(id="one", tokens=4, max_tokens=40))
    run.run_step()
    steady = run.scheduler.steady_steps(run.room())
    run.scheduler.advance([0.01] * steady)
    assert run.live["one"].blocks <= 4
    assert run.live["one"].tokens + 1 > 4 * 4 - 4, "close to the end of what there is"

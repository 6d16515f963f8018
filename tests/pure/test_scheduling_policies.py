"""All policies: no block is lost, everyone finishes, the step's budget holds; and what fairness promises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.scheduling.fair import Fair
from aquahost.scheduling.fcfs import Fcfs
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.policies import make_policy
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.room import Costs
from scheduled_host import ScheduledHost

FAST = Costs(peer_block_s=1e-6, host_block_s=1e-4, transfer_s=1e-5)
SLOW = Costs(peer_block_s=None, host_block_s=1e-3, transfer_s=1e-4)


def prompt(name: str, tokens: int, output: int, **more: Any) -> ScheduledPrompt:
    return ScheduledPrompt(id=name, tokens=tokens, max_tokens=tokens + output, **more)


def fair_host(*, budget: float = 0.1, by_level: bool = False, **sizes: Any) -> ScheduledHost:
    sizes = {"local": 32, "remote": 1000, "block_tokens": 4, "step_tokens": 64, "max_batch": 64, **sizes}
    return ScheduledHost(policy=Fair(paging_budget=budget, by_level=by_level), **sizes)


def tokens_of(plan: StepPlan) -> dict[str, int]:
    """Tokens that a step computes of each prompt."""
    return {p.id: 1 for p in plan.decodes} | {chunk.prompt.id: chunk.count for chunk in plan.chunks}


def run(host: ScheduledHost, most: int = 5000) -> list[StepPlan]:
    """Steps until nobody lives."""
    plans = []
    while host.live:
        plans.append(host.run_step()[0])
        assert len(plans) < most, "it never ends"
    return plans


def steps_to_begin(host: ScheduledHost) -> int:
    """Steps until everyone has had a first token; then everyone lives to the end."""
    everyone = list(host.live.values())
    steps = 0
    while not all(one.has_begun for one in everyone):
        host.run_step()
        steps += 1
        assert steps < 5000, "somebody never begins"
    run(host)
    return steps


requests = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20), st.integers(0, 30)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    requests=requests,
    local=st.integers(1, 14),
    remote=st.integers(0, 14),
    block_tokens=st.sampled_from([1, 3, 4, 16]),
    step_tokens=st.integers(1, 24),
    max_batch=st.integers(1, 8),
    headroom_tokens=st.sampled_from([0, 1, 8, 64]),
    copy_steps=st.integers(0, 3),
    cancel=st.sets(st.integers(0, 11)),
    lose=st.sets(st.integers(0, 11)),
    policy=st.sampled_from(["fcfs", "fair", "priority"]),
    costs=st.sampled_from([Costs(), Costs(1e-5, 1e-4, 1e-4), Costs(None, 1e-3, 1e-3), Costs(1.0, 1.0, 1.0)]),
    hosted=st.booleans(),
)
def test_no_block_is_lost_and_everyone_finishes(
    requests: list[tuple[int, int, int]],
    step_tokens: int,
    max_batch: int,
    cancel: set[int],
    lose: set[int],
    policy: str,
    costs: Costs,
    hosted: bool,
    **given: int,
) -> None:
    host = ScheduledHost(
        step_tokens=step_tokens,
        max_batch=max_batch,
        policy=make_policy(policy, paging_budget=0.1),
        costs=costs,
        peer=0 if hosted else None,
        **given,
    )
    arrivals = [
        (at, prompt(str(i), tokens, output, tenant=str(i % 3), weight=1.0 + i % 2, level=i % 2))
        for i, (tokens, output, at) in enumerate(requests)
        if tokens + output <= host.scheduler.max_tokens
    ]
    open_ids = {p.id for _, p in arrivals}
    for step in range(20_000):
        for at, new in arrivals:
            if at == step:
                host.add(new)
        if step in cancel and str(step) in host.live:
            host.remove(str(step))
            open_ids.discard(str(step))
        if step in lose and str(step) in host.live:
            host.scheduler.prompts.lose(str(step))
            host.moving.pop(str(step), None)
        plan, done = host.run_step()
        tokens = len(plan.decodes) + sum(chunk.count for chunk in plan.chunks)
        assert tokens <= step_tokens
        assert len(plan.decodes) + len(plan.chunks) <= max_batch
        assert tokens or not host.live or host.moving or plan.dropped, "nothing runs though a prompt waits"
        open_ids -= set(done)
        if not open_ids and step > 30:
            break
    assert not open_ids
    assert host.room()[:2] == (host.local, host.remote)
    assert host.scheduler.waiting == host.scheduler.running == host.scheduler.suspended == 0


@settings(max_examples=60, deadline=None)
@given(requests=requests, step_tokens=st.integers(12, 40))
def test_when_everything_fits_fair_is_fcfs(requests: list[tuple[int, int, int]], step_tokens: int) -> None:
    hosts = [
        ScheduledHost(local=1000, remote=1000, step_tokens=step_tokens, max_batch=12, policy=policy)
        for policy in (Fair(paging_budget=0.1), Fcfs())
    ]
    for step in range(700):
        for i, (tokens, output, at) in enumerate(requests):
            if at == step:
                for host in hosts:
                    host.add(prompt(str(i), tokens, output))
        fair, fcfs = (host.run_step()[0] for host in hosts)
        assert tokens_of(fair) == tokens_of(fcfs)
        assert not fair.paged_out
        assert not fair.dropped


@pytest.mark.parametrize(("costs", "peer"), [(FAST, None), (SLOW, 0), (Costs(), 0)])
def test_under_a_burst_everyone_begins_at_once_and_ends(costs: Costs, peer: int | None) -> None:
    host = fair_host(costs=costs, peer=peer, copy_steps=1)
    for i in range(40):
        host.add(prompt(str(i), 12, 60))  # 18 blocks each in the end, 720 in all, of which 32 are local
    steps = steps_to_begin(host)
    # 40 prompts of 12 tokens in steps of 64: eight steps, and a few more for those who make way.
    assert steps < 8 * 4
    fcfs = ScheduledHost(local=32, remote=1000, block_tokens=4, step_tokens=64, max_batch=64, policy=Fcfs())
    for i in range(40):
        fcfs.add(prompt(str(i), 12, 60))
    assert steps_to_begin(fcfs) > 5 * steps


def test_with_a_fast_link_the_batch_is_larger_than_local_memory() -> None:
    host = fair_host(costs=FAST)
    for i in range(40):
        host.add(prompt(str(i), 12, 60))
    widest = max(len(plan.decodes) for plan in run(host))
    assert widest == 40
    slow = fair_host(costs=SLOW, peer=0)
    for i in range(40):
        slow.add(prompt(str(i), 12, 60))
    assert max(len(plan.decodes) for plan in run(slow)) <= 32 // 3


def test_without_paging_room_prompts_are_prefilled_again_in_longer_slices() -> None:
    def slices(**sizes: Any) -> tuple[float, int]:
        host = fair_host(**sizes)
        for i in range(12):
            host.add(prompt(str(i), 12, 60))
        longest, dropped = 0.0, 0
        while host.live:
            dropped += len(host.run_step()[0].dropped)
            longest = max(longest, host.scheduler.policy.slice_s)
        return longest, dropped

    paged_s, dropped = slices(costs=SLOW, peer=0)
    assert not dropped
    recomputed_s, dropped = slices(remote=0)
    assert dropped
    assert recomputed_s > paged_s


def test_nobody_waits_for_longer_than_the_bound() -> None:
    host = fair_host(costs=SLOW, peer=0, copy_steps=1)
    for i in range(30):
        host.add(prompt(str(i), 12, 100))
    policy = host.scheduler.policy
    assert isinstance(policy, Fair)
    last = dict.fromkeys(host.live, 0.0)
    begun: set[str] = set()
    worst = 0.0
    while len(host.live) > 20:
        plan, _ = host.run_step()
        for one in plan.decodes:
            if one.id in begun and policy.slice_s:
                bound_s = 2 * len(host.live) / max(1, len(plan.decodes)) * policy.slice_s + 10 * host.step_s
                worst = max(worst, (host.now_s - last[one.id]) / bound_s)
            begun.add(one.id)
            last[one.id] = host.now_s
    assert 0 < worst <= 1


def test_backlogged_tenants_share_by_weight() -> None:
    host = fair_host(costs=Costs(None, 1e-5, 1e-5), peer=0, max_batch=8, local=160)
    for i in range(50):
        host.add(prompt(f"heavy{i}", 8, 100, tenant="heavy"))
        if i < 5:
            host.add(prompt(f"light{i}", 8, 100, tenant="light"))
    had = {"heavy": 0.0, "light": 0.0}
    while sum(name.startswith("light") for name in host.live) == 5:
        tokens = tokens_of(host.run_step()[0])
        for name, count in tokens.items():
            had[name.rstrip("0123456789")] += host.step_s * count / sum(tokens.values())
    assert had["light"] / sum(had.values()) == pytest.approx(0.5, abs=0.05)


def test_a_light_tenants_prompt_begins_at_once_beside_a_heavy_ones() -> None:
    host = fair_host(costs=SLOW, peer=0)
    for i in range(60):
        host.add(prompt(f"heavy{i}", 12, 100, tenant="heavy"))
    for _ in range(60):
        host.run_step()
    host.add(prompt("light", 12, 20, tenant="light"))
    begun = ["light" in {chunk.prompt.id for chunk in host.run_step()[0].chunks} for _ in range(6)]
    assert any(begun)


def test_with_priorities_the_smaller_number_goes_first() -> None:
    host = fair_host(costs=SLOW, peer=0, by_level=True)
    for i in range(20):
        host.add(prompt(f"later{i}", 12, 90, level=1))
    for _ in range(20):
        host.run_step()
    for i in range(2):
        host.add(prompt(f"sooner{i}", 12, 40, level=0))
    ended: list[str] = []
    while host.live:
        ended += host.run_step()[1]
    assert set(ended[:2]) == {"sooner0", "sooner1"}


def test_a_lower_level_that_waits_for_long_disturbs_no_exchange_of_a_higher_one() -> None:
    host = fair_host(costs=SLOW, peer=0, by_level=True, max_batch=2, local=64)
    for i in range(4):
        host.add(prompt(f"sooner{i}", 8, 400, level=0))
    host.add(prompt("later", 8, 40, level=5))
    had = dict.fromkeys(host.live, 0)
    for _ in range(600):
        for name, count in tokens_of(host.run_step()[0]).items():
            had[name] += count
    assert had.pop("later") <= 8, "at most while a place was free"
    assert min(had.values()) > 100


def test_nobody_gives_way_in_vain() -> None:
    host = fair_host(costs=SLOW, peer=0, local=64, step_tokens=8)
    for i in range(3):
        host.add(prompt(f"short{i}", 8, 60))
    for _ in range(8):
        host.run_step()
    host.add(prompt("long", 120, 10))
    host.add(prompt("too long for now", 200, 10))
    for _ in range(14):
        plan, _ = host.run_step()
        assert plan.decodes, "they gave way, and nothing came of it"


def test_a_new_prompt_does_not_wait_behind_another_tenants_begun_ones() -> None:
    host = fair_host(costs=Costs(None, 0.05, 0.05), peer=0)
    for i in range(20):
        host.add(prompt(f"a{i}", 12, 200, tenant="a"))
        host.add(prompt(f"b{i}", 12, 200, tenant="b"))
    for _ in range(100):
        host.run_step()
    assert host.scheduler.policy.slice_s > 1.0
    host.add(prompt("new", 12, 20, tenant="b"))
    begun = ["new" in tokens_of(host.run_step()[0]) for _ in range(12)]
    assert any(begun)


def test_the_line_names_everyone_who_waits_once() -> None:
    host = fair_host(costs=SLOW, peer=0)
    for i in range(30):
        host.add(prompt(str(i), 12, 100))
    for _ in range(200):
        host.run_step()
        waiting = [p.id for p in host.live.values() if p.stand in (Stand.WAITING, Stand.SUSPENDED)]
        line = host.scheduler.policy.line()
        assert sorted(place.prompt_id for place in line) == sorted(waiting)
        assert [place.position for place in line] == list(range(1, len(line) + 1))


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(ValueError, match="no policy 'lottery'; there are fair, fcfs and priority"):
        make_policy("lottery", paging_budget=0.1)


def test_whoever_is_read_in_place_rests_in_every_other_step_beside_new_prompts() -> None:
    host = fair_host(local=12, remote=60, peer=60, costs=Costs(peer_block_s=1e-6, host_block_s=1.0), step_tokens=8)
    for name in "abcd":
        host.add(prompt(name, 8, 60))
    for _ in range(40):
        host.run_step()
    away = {one.id for one in host.live.values() if one.local < one.blocks}
    assert away, "some are read in place"
    host.add(prompt("new", 40, 4))
    rests = []
    while not host.live["new"].has_begun:
        plan, _ = host.run_step()
        if any(chunk.prompt.id == "new" for chunk in plan.chunks):
            rests.append(not any(one.local < one.blocks for one in plan.decodes))
            here = [one for one in host.live.values() if one.stand is Stand.RUNNING and one.local == one.blocks]
            assert {one.id for one in here if one.has_begun} <= {one.id for one in plan.decodes}, "others do not"
    assert len(rests) > 3
    assert True in rests
    assert False in rests

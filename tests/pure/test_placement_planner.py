"""Plans: everything placed, nothing too full, and as good as the best there is, where all can be tried."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.bench.plan import example
from aquahost.errors import ConfigError
from aquahost.placement.aqua_plan import aqua_plan
from aquahost.placement.bounds import sharing_bound, unmet_bound
from aquahost.placement.fleet import Fleet, fleet_of
from aquahost.placement.needs import Need
from aquahost.placement.parts import parts_of
from aquahost.placement.plan import Plan
from aquahost.placement.planner import make_plan
from aquahost.profiles.data_sheets import parse_node
from planned_fleet import GIB, aqua_gib, fits, fleet, need, placements, places, sharing, unmet_gib


@st.composite
def models(draw: st.DrawFn, most: int = 4, widest: int = 2) -> list[Need]:
    """Some models whose KV may lie anywhere in their server."""
    return [
        need(
            f"m{number}",
            draw(st.integers(1, 8)),
            wanted=draw(st.integers(0, 14)),
            group=draw(st.sampled_from([1, 1, 1, widest])),
            replicas=draw(st.sampled_from([1, 1, 1, 2])),
            time=draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.5])),
        )
        for number in range(draw(st.integers(1, most)))
    ]


def check_sound(plan: Plan, needs: list[Need], where: Fleet) -> None:
    """Everything is there once, and no GPU has more than its memory."""
    replicas = [one for one in needs for _ in range(one.replicas)]
    assert [model.name for model in plan.models] == [one.name for one in replicas]
    assert fits(replicas, places(plan), where)
    for model, one in zip(plan.models, replicas, strict=True):
        assert len(set(model.gpus)) == one.group
        assert {gpu // where.gpus for gpu in model.gpus} == {model.server}
    for gpu in plan.gpus:
        used = gpu.weights_bytes + gpu.peak_bytes + gpu.kv_bytes + gpu.lent_bytes
        assert used + gpu.spare_bytes == where.memory_bytes
    for loan in plan.loans:
        assert loan.gpu != loan.donor
        assert loan.gpu // where.gpus == loan.donor // where.gpus
        assert loan.size_bytes > 0


def lacks(replicas: list[Need], way: list[tuple[int, ...]], where: Fleet) -> tuple[int, int]:
    """Unmet demand, and the worst server's."""
    unmet = unmet_gib(replicas, way, where)
    return sum(unmet), max(unmet)


@settings(max_examples=40, deadline=None)
@given(needs=models(), shape=st.sampled_from([(1, 2), (1, 3), (2, 1), (2, 2)]), memory=st.integers(6, 12))
def test_a_tiny_plan_is_as_good_as_the_best_of_all(needs: list[Need], shape: tuple[int, int], memory: int) -> None:
    servers, gpus = shape
    where = fleet(gpus, memory, servers=servers)
    replicas = [one for one in needs for _ in range(one.replicas)]
    ways = list(placements(needs, where))
    if not ways:
        with pytest.raises(ConfigError):
            make_plan(needs, where)
        return
    plan = make_plan(needs, where)
    check_sound(plan, needs, where)
    shards = sum(one.group for one in replicas)
    one_each = [way for way in ways if shards <= where.all_gpus and sharing(way) == 0]
    least = min(lacks(replicas, way, where)[0] for way in ways)
    ways = [way for way in ways if lacks(replicas, way, where)[0] == least]
    if servers > 1 and one_each:
        limit = min(aqua_gib(replicas, way, where) for way in one_each) + 1e-6
        within = [way for way in ways if aqua_gib(replicas, way, where) <= limit]
        assert not within or aqua_gib(replicas, places(plan), where) <= limit
        ways = within or ways
    goods = [(*lacks(replicas, way, where), sharing(way)) for way in ways]
    unmet, worst, shared, _ = plan.goals
    assert (unmet.value / GIB, worst.value / GIB, shared.value) == min(goods)
    assert all(goal.bound <= goal.value + 1e-6 for goal in plan.goals)


@settings(max_examples=60, deadline=None)
@given(
    needs=models(most=6, widest=2),
    pins=st.lists(st.integers(0, 5), max_size=2),
    memory=st.integers(9, 16),
    one_way=st.booleans(),
    limited=st.booleans(),
)
def test_no_more_is_unmet_than_of_the_plan_of_aqua_s_that_is_shown(
    needs: list[Need], pins: list[int], memory: int, one_way: bool, limited: bool
) -> None:
    needs = [replace(one, gpu=pin, replicas=1) for one, pin in zip(needs, pins, strict=False)] + needs[len(pins) :]
    where = fleet(3, memory, servers=2)
    if one_way:
        where = replace(where, rates={(0, 1): 1e9, (1, 0): 1e9, (1, 2): 1e9}, link_bytes_per_s=None)
    with pytest.MonkeyPatch.context() as patch:
        if limited:  # searches that find next to nothing
            patch.setattr("aquahost.placement.planner.NODES", 1)
            patch.setattr("aquahost.placement.planner._SERVER_NODES", 1)
            patch.setattr("aquahost.placement.planner._EXACT", 0)
        try:
            plan = make_plan(needs, where)
        except ConfigError:
            return
    check_sound(plan, needs, where)
    if plan.aqua is not None:
        assert plan.aqua.ours_unmet_bytes <= plan.aqua.aqua_unmet_bytes
        if plan.aqua.ours_bytes > plan.aqua.aqua_bytes:
            assert plan.aqua.aqua_unmet_bytes > plan.aqua.ours_unmet_bytes


def test_aqua_s_objective_is_kept_until_that_costs_met_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    # AQUA counts lenders and consumers, and does not see that one consumer needs all that two GPUs have.
    sizes = [(9, 8), (8, 14), (4, 0), (9, 8), (3, 0)]
    needs = [need(f"m{n}", weights, wanted=wanted) for n, (weights, wanted) in enumerate(sizes)]
    where = fleet(3, 10, servers=2)
    plan = make_plan(needs, where)
    assert plan.aqua is not None
    assert plan.aqua.ours_bytes > plan.aqua.aqua_bytes
    assert plan.aqua.ours_unmet_bytes == 4 * GIB
    monkeypatch.setattr("aquahost.placement.planner._MATTERS", 1.0)
    kept = make_plan(needs, where)
    assert kept.aqua is not None
    assert kept.aqua.ours_bytes <= kept.aqua.aqua_bytes
    assert kept.aqua.ours_unmet_bytes == kept.aqua.aqua_unmet_bytes == 7 * GIB


def test_aqua_s_objective_is_kept_where_the_search_within_it_finds_nothing() -> None:
    sizes = [(7, 0), (5, 14), (8, 8), (5, 8), (6, 14)]
    plan = make_plan(
        [need(f"m{n}", weights, wanted=kv) for n, (weights, kv) in enumerate(sizes)], fleet(3, 10, servers=2)
    )
    assert plan.aqua is not None
    assert plan.aqua.ours_unmet_bytes == plan.aqua.aqua_unmet_bytes
    assert plan.aqua.ours_bytes <= plan.aqua.aqua_bytes


def test_a_plan_is_deterministic() -> None:
    needs = [need(f"m{n}", 5 + n, wanted=3 * n, time=0.1) for n in range(6)]
    assert make_plan(needs, fleet(4, 30)) == make_plan(needs, fleet(4, 30))


@settings(max_examples=20, deadline=None)
@given(needs=models(most=4), servers=st.integers(1, 2), memory=st.integers(8, 30), lends=st.booleans())
def test_bounds_hold_for_every_placement(needs: list[Need], servers: int, memory: int, lends: bool) -> None:
    where = fleet(2, memory, servers=servers, lends=lends)
    parts = parts_of(needs)
    replicas = [one for one in needs for _ in range(one.replicas)]
    for way in list(placements(needs, where))[:50]:
        assert unmet_bound(parts, where) <= sum(unmet_gib(replicas, way, where)) * 1024 or not lends
        assert sharing_bound(parts, where) <= sharing(way)


@pytest.mark.parametrize("seed", range(3))
def test_many_servers_are_planned_near_the_bound_and_no_worse_than_aqua(seed: int) -> None:
    draw = random.Random(seed)
    where = fleet(4, 80, servers=6)
    needs = [
        need(f"m{n}", draw.choice([2, 7, 15, 30, 60]), wanted=round(draw.uniform(0, 1) * 70), time=draw.uniform(0, 0.9))
        for n in range(24)
    ]
    plan = make_plan(needs, where)
    check_sound(plan, needs, where)
    assert plan.goals[0].value <= 1.01 * plan.goals[0].bound + 0.01 * plan.demand_bytes
    assert plan.aqua is not None
    assert plan.aqua.ours_bytes <= plan.aqua.aqua_bytes
    assert plan.aqua.ours_bytes == round(aqua_gib(needs, places(plan), where) * GIB)
    assert plan.aqua.ours_unmet_bytes <= plan.aqua.aqua_unmet_bytes
    assert plan.aqua.aqua_bound_bytes <= plan.aqua.aqua_bytes <= 1.01 * plan.aqua.aqua_bound_bytes


@pytest.mark.parametrize("seed", range(3))
def test_aqua_s_plan_by_pairs_of_servers_is_about_as_good_as_by_one_program(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    where = fleet(4, 80, servers=5)
    needs = [need(f"m{n}", draw.choice([2, 7, 15, 30, 60]), wanted=draw.randint(0, 70)) for n in range(20)]
    exact = aqua_plan(parts_of(needs), where)
    monkeypatch.setattr("aquahost.placement.aqua_plan._EXACT", 0)
    by_pairs = aqua_plan(parts_of(needs), where)
    assert exact is not None
    assert by_pairs is not None
    assert by_pairs.bound <= exact.value <= by_pairs.value <= 1.01 * exact.value


def test_groups_replicas_and_shared_gpus_over_many_servers() -> None:
    draw = random.Random(7)
    where = fleet(8, 80, servers=4)
    needs = [
        need(
            f"m{n}",
            draw.choice([4, 15, 30, 60]),
            wanted=draw.randint(0, 30),
            group=draw.choice([1, 1, 1, 2, 4]),
            replicas=draw.choice([1, 1, 1, 2]),
            time=draw.uniform(0, 0.4),
        )
        for n in range(20)
    ]
    plan = make_plan(needs, where)
    check_sound(plan, needs, where)
    assert plan.aqua is None, "more shards than GPUs"
    assert plan.goals[0].gap <= 0.01
    assert plan.goals[2].value <= plan.goals[2].bound + 2


def test_a_pinned_model_is_where_its_entry_says_also_on_another_server() -> None:
    needs = [need("a", 5, gpu=3), need("b", 5, gpu=3, time=0.2), need("c", 9)]
    plan = make_plan(needs, fleet(2, 10, servers=2))
    assert places(plan)[:2] == [(3,), (3,)]
    assert places(plan)[2] != (3,)
    assert [model.pinned for model in plan.models] == [True, True, False]


def test_a_group_is_on_gpus_that_are_linked() -> None:
    pairs = dict.fromkeys([(0, 2), (2, 0), (1, 3), (3, 1)], 1000000000.0)
    where = Fleet(servers=1, gpus=4, memory_bytes=10 * GIB, rates=pairs)
    plan = make_plan([need("wide", 9, group=2), need("other", 9, group=2)], where)
    assert sorted(places(plan)) == [(0, 2), (1, 3)]
    with pytest.raises(ConfigError):
        make_plan([need("wide", 9, group=4)], where)


def test_nobody_borrows_where_lending_is_off() -> None:
    needs = [need("a", 5, wanted=9), need("b", 1)]
    assert make_plan(needs, fleet(2, 10)).unmet_bytes == 0
    alone = make_plan(needs, fleet(2, 10, lends=False))
    assert (alone.unmet_bytes, alone.loans) == (4 * GIB, ())


def test_a_model_that_may_not_borrow_gets_a_gpu_of_its_own_first() -> None:
    needs = [need("proud", 2, wanted=8, borrow=0), need("other", 2, wanted=8), need("third", 2, wanted=2)]
    plan = make_plan(needs, fleet(2, 12))
    assert plan.unmet_bytes == 0
    assert {loan.model for loan in plan.loans} <= {"other", "third"}


def test_nothing_to_place() -> None:
    plan = make_plan([], fleet_of(parse_node("2xH100")))
    assert plan.models == ()
    assert [gpu.spare_bytes for gpu in plan.gpus] == [80 * 10**9] * 2


def test_the_bench_s_models_can_all_answer_what_they_are_asked() -> None:
    needs = example(3, models=16, others=0.4, wide=True)
    assert needs == example(3, models=16, others=0.4, wide=True)
    assert all(0 < one.utilisation < 1 for one in needs)
    plan = make_plan(needs, fleet_of(parse_node("8xH100"), servers=3))
    assert plan.goals[0].gap <= 0.01

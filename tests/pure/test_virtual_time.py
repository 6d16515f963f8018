"""Device time, shared among tenants by weight and among a tenant's prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.scheduling.virtual_time import VirtualTime


def run(fair: VirtualTime, names: list[str], steps: int, service_s: float = 1.0) -> dict[str, int]:
    """Serve whoever goes first, again and again; returns how often each was."""
    served = dict.fromkeys(names, 0)
    for _ in range(steps):
        name = min(names, key=fair.rank)
        fair.serve(name, service_s)
        served[name] += 1
    return served


def test_prompts_of_one_tenant_take_turns_in_order_of_arrival() -> None:
    fair = VirtualTime()
    for name in "abc":
        fair.add(name, "t")
    assert run(fair, list("abc"), 7) == {"a": 3, "b": 2, "c": 2}


def test_tenants_share_by_weight_however_many_prompts_they_have() -> None:
    fair = VirtualTime()
    fair.add("light", "one", weight=1.0)
    heavy = [f"heavy{i}" for i in range(10)]
    for name in heavy:
        fair.add(name, "ten", weight=3.0)
    served = run(fair, ["light", *heavy], 400)
    assert served["light"] == pytest.approx(100, abs=2)
    assert max(served[name] for name in heavy) - min(served[name] for name in heavy) <= 1


def test_a_newcomer_starts_where_the_least_served_stands() -> None:
    fair = VirtualTime()
    fair.add("old", "t")
    run(fair, ["old"], 100)
    fair.add("new", "t")
    assert run(fair, ["old", "new"], 10) == {"old": 5, "new": 5}


def test_a_tenant_saves_nothing_up_by_being_idle_and_gains_nothing_by_leaving() -> None:
    fair = VirtualTime()
    fair.add("a", "busy")
    run(fair, ["a"], 100)
    fair.add("b", "back")
    assert run(fair, ["a", "b"], 10) == {"a": 5, "b": 5}
    run(fair, ["b"], 50)
    fair.remove("b")
    fair.add("c", "back")
    assert run(fair, ["a", "c"], 50) == {"a": 50, "c": 0}


def test_when_everybody_has_left_what_was_before_is_settled() -> None:
    fair = VirtualTime()
    fair.add("a", "alone")
    run(fair, ["a"], 100)
    fair.remove("a")
    fair.add("b", "new")
    fair.add("c", "alone")
    assert run(fair, ["b", "c"], 10) == {"b": 5, "c": 5}


def test_a_level_that_waits_behind_another_holds_no_one_back_on_that() -> None:
    fair = VirtualTime()
    fair.add("starved", "t", level=9)
    fair.add("old", "t", level=0)
    run(fair, ["old"], 100)
    fair.add("new", "t", level=0)
    assert run(fair, ["old", "new"], 10) == {"old": 5, "new": 5}


def test_smaller_levels_go_first() -> None:
    fair = VirtualTime()
    fair.add("later", "t", level=1)
    fair.add("sooner", "t", level=0)
    fair.serve("sooner", 1000.0)
    assert fair.rank("sooner") < fair.rank("later")


def test_a_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0"):
        VirtualTime().add("a", "t", weight=0.0)


@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=4),
    counts=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    costs=st.lists(st.floats(0.1, 2.0), min_size=1, max_size=7),
)
def test_backlogged_tenants_never_drift_apart_by_more_than_a_slice(
    weights: list[float], counts: list[int], costs: list[float]
) -> None:
    fair = VirtualTime()
    names = []
    for tenant, weight in enumerate(weights):
        for number in range(counts[tenant]):
            names.append(f"{tenant}.{number}")
            fair.add(names[-1], str(tenant), weight=weight)
    had = dict.fromkeys(range(len(weights)), 0.0)
    for step in range(200):
        name = min(names, key=fair.rank)
        cost = costs[step % len(costs)]
        fair.serve(name, cost)
        had[int(name.split(".")[0])] += cost
    normal = [had[tenant] / weight for tenant, weight in enumerate(weights)]
    assert max(normal) - min(normal) <= max(costs) / min(weights) + 1e-9

"""Whose step is next among image and audio prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.config.settings import Policy
from aquahost.scheduling.step_turns import HURRIED, MOST_PASSES, StepTurns, Wait

FAIR_POLICIES = [Policy.FAIR, Policy.PRIORITY]


def _take(turns: StepTurns, count: int, *, step_s: float = 1.0) -> str:
    taken = []
    for _ in range(count):
        prompt_id = turns.take()
        if prompt_id is not None:
            turns.served(prompt_id, step_s)
        taken.append(prompt_id or "-")
    return "".join(taken)


def _turns(policy: Policy, max_begun: int, **tenants: str) -> StepTurns:
    """With a prompt for each letter of each tenant's value."""
    turns = StepTurns(policy, max_begun)
    for tenant, prompt_ids in tenants.items():
        for prompt_id in prompt_ids:
            turns.add(prompt_id, tenant)
    return turns


# -- first come, first begun ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", Policy)
def test_prompts_begun_take_steps_in_turn(policy: Policy) -> None:
    assert _take(_turns(policy, 3, t="abc"), 7) == "abcabca"


@pytest.mark.parametrize("policy", Policy)
def test_no_more_than_max_begun_are_begun_and_the_oldest_waiting_is_next(policy: Policy) -> None:
    turns = _turns(policy, 2, t="abcd")
    assert _take(turns, 4) == "abab"
    assert (turns.begun, turns.waiting) == (2, 2)
    turns.remove("a")
    # Whoever had to wait has had less.
    assert _take(turns, 4) == ("cbcb" if policy is Policy.FCFS else "ccbc")
    turns.remove("d")
    turns.remove("c")
    assert _take(turns, 2) == "bb"
    assert (turns.begun, turns.waiting) == (1, 0)


@pytest.mark.parametrize("policy", Policy)
def test_a_new_prompt_goes_first(policy: Policy) -> None:
    turns = _turns(policy, 2, t="a")
    assert _take(turns, 3) == "aaa"
    turns.add("b", "t")
    assert _take(turns, 4) == ("baba" if policy is Policy.FCFS else "baab")


def test_under_fcfs_tenants_and_times_mean_nothing() -> None:
    turns = _turns(Policy.FCFS, 2, one="abc", other="x")
    assert _take(turns, 4, step_s=5.0) == "abab"
    turns.remove("b")
    turns.add("y", "third", priority=-5, weight=100.0)
    assert _take(turns, 3) == "cac"
    turns.remove("a")
    assert turns.next_to_begin == "x"


@pytest.mark.parametrize("policy", Policy)
def test_one_that_may_not_begin_yet_leaves_the_turn_to_those_begun(policy: Policy) -> None:
    turns = _turns(policy, 2, t="a")
    assert turns.next_to_begin == "a"
    assert turns.take(begin=False) is None
    assert turns.take() == "a"
    turns.served("a", 1.0)
    turns.add("b", "t")
    turns.add("c", "t")
    for _ in range(2):
        assert turns.take(begin=False) == "a"
        turns.served("a", 1.0)
    assert (turns.next_to_begin, turns.begun_ids()) == ("b", ["a"])
    assert turns.take() == "b"
    assert turns.next_to_begin is None, "no more may begin"


@pytest.mark.parametrize("policy", Policy)
def test_without_prompts_there_is_no_turn(policy: Policy) -> None:
    turns = StepTurns(policy, 1)
    assert turns.take() is None
    turns.remove("unknown")
    turns.add("a", "t")
    turns.remove("a")
    assert turns.take() is None
    assert turns.waits() == []


def test_at_least_one_prompt_can_be_begun() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        StepTurns(Policy.FAIR, 0)


# -- fair -------------------------------------------------------------------------------------------------------------


def test_a_tenant_with_one_prompt_gets_as_many_steps_as_one_with_many() -> None:
    turns = _turns(Policy.FAIR, 4, crowd="abcdef", single="x")
    assert _take(turns, 12).count("x") == 6


def test_weights_divide_device_time_and_not_steps() -> None:
    turns = StepTurns(Policy.FAIR, 2)
    turns.add("heavy", "one", weight=3.0)
    turns.add("light", "other", weight=1.0)
    for _ in range(400):
        prompt_id = turns.take()
        assert prompt_id is not None
        turns.served(prompt_id, 2.0 if prompt_id == "light" else 0.5)
    assert turns.service_s("heavy") / turns.service_s("light") == pytest.approx(3.0, rel=0.05)


def test_among_one_tenant_s_prompts_the_newest_shows_its_first_step_first() -> None:
    turns = _turns(Policy.FAIR, 3, t="a", u="x")
    _take(turns, 5)
    turns.add("b", "t")
    taken = _take(turns, 4)
    assert taken.index("b") < taken.index("a")


def test_a_place_that_comes_free_is_for_a_tenant_that_has_none() -> None:
    turns = _turns(Policy.FAIR, 2, crowd="abcd")
    _take(turns, 2)
    turns.add("x", "late")
    assert [wait.prompt_id for wait in turns.waits()] == ["x", "c", "d"]
    turns.remove("a")
    assert turns.next_to_begin == "x"
    assert _take(turns, 1) == "x"


def test_a_choice_made_for_a_free_place_stays_unless_someone_more_urgent_comes() -> None:
    turns = _turns(Policy.FAIR, 3, crowd="ab", other="x")
    _take(turns, 2)
    assert turns.begun_ids() == ["a", "x"]
    assert turns.next_to_begin == "b"
    turns.add("y", "other")
    for _ in range(3):
        turns.served("a", 1.0)
    assert turns.next_to_begin == "b", "room is being made for it"
    turns.add("z", "third")
    assert turns.next_to_begin == "z"
    turns.remove("z")
    assert turns.next_to_begin == "y"


def test_while_a_tenant_is_kept_out_the_prompt_nearest_its_end_is_finished() -> None:
    turns = StepTurns(Policy.FAIR, 3)
    left = {"a": 30, "b": 9, "c": 20}
    for prompt_id, steps in left.items():
        turns.add(prompt_id, "crowd", steps=steps)
    taken = []

    def step() -> None:
        prompt_id = turns.take()
        assert prompt_id is not None
        left[prompt_id] -= 1
        turns.served(prompt_id, 1.0, left[prompt_id])
        taken.append(prompt_id)

    for _ in range(3):
        step()
    turns.add("x", "late", steps=5)
    for _ in range(8):
        step()
    assert taken[3:] == ["b"] * 8
    assert left["b"] == 0


def test_estimates_tell_when_waiting_prompts_begin() -> None:
    turns = StepTurns(Policy.FAIR, 2)
    assert turns.waits() == []
    for prompt_id in "abcd":
        turns.add(prompt_id, "t", steps=10)
    assert turns.waits() == [Wait(prompt_id, 0.0) for prompt_id in "abcd"], "nothing is measured yet"
    for _ in range(4):
        prompt_id = turns.take()
        assert prompt_id is not None
        turns.served(prompt_id, 0.5, 8)
    # Two of ten steps and two of eight are left, half a second each.
    assert turns.waits() == [Wait("c", pytest.approx(4.5)), Wait("d", pytest.approx(9.0))]


def test_smaller_priority_numbers_go_first_and_begin_first() -> None:
    turns = StepTurns(Policy.PRIORITY, 2)
    turns.add("slow", "t", priority=5)
    _take(turns, 3)
    turns.add("later", "t", priority=5)
    turns.add("urgent", "u", priority=-1)
    assert [wait.prompt_id for wait in turns.waits()] == ["urgent", "later"]
    for _ in range(5):
        assert turns.take() == "urgent"
        turns.served("urgent", 1.0)
    turns.remove("urgent")
    assert turns.take() == "later"


def test_under_fair_priorities_mean_nothing() -> None:
    turns = StepTurns(Policy.FAIR, 2)
    turns.add("a", "t", priority=5)
    turns.add("b", "u", priority=-5)
    assert [turns.take()] == ["a"]


# -- whatever happens -------------------------------------------------------------------------------------------------


@dataclass
class _World:
    """Prompts that take their steps and end, as a gated engine drives them."""

    turns: StepTurns
    max_begun: int
    tenant_of: dict[str, str] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)

    def add(self, prompt_id: str, tenant: str, weight: float, priority: int, steps: int) -> None:
        self.turns.add(prompt_id, tenant, weight=weight, priority=priority, steps=steps)
        self.tenant_of[prompt_id], self.left[prompt_id] = tenant, steps

    def step(self, step_s: float) -> str | None:
        upcoming = self.turns.next_to_begin
        prompt_id = self.turns.take()
        assert (prompt_id is None) == (not self.left)
        if prompt_id is None:
            return None
        assert prompt_id in self.begun or prompt_id == upcoming
        self.begun.add(prompt_id)
        assert len(self.begun) <= self.max_begun
        self.left[prompt_id] -= 1
        self.turns.served(prompt_id, step_s, self.left[prompt_id])
        if not self.left[prompt_id]:
            self.end(prompt_id)
        return prompt_id

    def end(self, prompt_id: str) -> None:
        self.turns.remove(prompt_id)
        del self.left[prompt_id]
        self.begun.discard(prompt_id)

    def check(self) -> None:
        assert set(self.turns.begun_ids()) == self.begun
        waits = self.turns.waits()
        assert {wait.prompt_id for wait in waits} == set(self.left) - self.begun
        assert (self.turns.begun, self.turns.waiting) == (len(self.begun), len(waits))
        assert all(wait.estimate_s >= 0 for wait in waits)


_ARRIVAL = st.tuples(
    st.sampled_from("ABC"), st.sampled_from([0.5, 1.0, 3.0]), st.integers(-1, 1), st.integers(1, 6), st.integers(0, 4)
)


@given(
    policy=st.sampled_from(list(Policy)),
    max_begun=st.integers(1, 4),
    arrivals=st.lists(_ARRIVAL, max_size=12),
    cancelled=st.sets(st.integers(0, 11)),
    costs=st.lists(st.floats(0.001, 5.0), min_size=1, max_size=5),
)
def test_every_prompt_is_served_to_its_end_and_places_are_never_exceeded(
    policy: Policy,
    max_begun: int,
    arrivals: list[tuple[str, float, int, int, int]],
    cancelled: set[int],
    costs: list[float],
) -> None:
    world = _World(StepTurns(policy, max_begun), max_begun)
    taken = 0
    for number, (tenant, weight, priority, steps, pause) in enumerate(arrivals):
        world.add(str(number), tenant, weight, priority, steps)
        world.check()
        for _ in range(pause):
            world.step(costs[taken % len(costs)])
            taken += 1
        if number in cancelled and str(number) in world.left:
            world.end(str(number))
        world.check()
    while world.left:
        world.step(costs[taken % len(costs)])
        taken += 1
        world.check()
    assert taken <= sum(steps + pause for *_, steps, pause in arrivals)


@given(
    counts=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    weights=st.lists(st.sampled_from([1.0, 2.0]), min_size=4, max_size=4),
    costs=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=5),
    max_begun=st.integers(4, 6),
)
def test_tenants_share_by_weight_however_many_prompts_they_send(
    counts: list[int], weights: list[float], costs: list[float], max_begun: int
) -> None:
    turns = StepTurns(Policy.FAIR, max_begun)
    had = dict.fromkeys(range(len(counts)), 0.0)
    for tenant, count in enumerate(counts):
        for number in range(count):
            turns.add(f"{tenant}.{number}", str(tenant), weight=weights[tenant])
    for step in range(300):
        prompt_id = turns.take()
        assert prompt_id is not None
        turns.served(prompt_id, costs[step % len(costs)])
        had[int(prompt_id.split(".")[0])] += costs[step % len(costs)]
    normal = [had[tenant] / weights[tenant] for tenant in had]
    assert max(normal) - min(normal) <= max(costs) + 1e-6


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("short", [1, 12])
def test_a_crowd_of_shorter_prompts_does_not_keep_a_longer_one_from_its_end(policy: Policy, short: int) -> None:
    turns = StepTurns(policy, 4)
    left = {"long": 16} | {f"short{number}": short for number in range(5)}
    for prompt_id, steps in left.items():
        turns.add(prompt_id, "t", steps=steps)
    for number in range(1000):
        taken = turns.take()
        assert taken is not None
        left[taken] -= 1
        turns.served(taken, 1.0, left[taken])
        if not left[taken]:
            turns.remove(taken)
            if taken == "long":
                break
            turns.add(f"more{number}", "t", steps=short)
            left[f"more{number}"] = short
    assert not left["long"]


@given(
    policy=st.sampled_from(list(Policy)),
    max_begun=st.integers(1, 5),
    prompts=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 20)), min_size=30, max_size=60),
    crowd=st.integers(1, 10),
)
def test_whoever_has_begun_has_its_turn_again_within_some_rounds_of_places(
    policy: Policy, max_begun: int, prompts: list[tuple[str, int]], crowd: int
) -> None:
    turns = StepTurns(policy, max_begun)
    left: dict[str, int] = {}
    tenants: dict[str, str] = {}
    passed: Counter[str] = Counter()
    coming = [(str(number), tenant, steps) for number, (tenant, steps) in enumerate(prompts)]
    for _ in range(sum(steps for _, steps in prompts)):
        while coming and len(left) < crowd:
            prompt_id, tenants[prompt_id], left[prompt_id] = coming.pop()
            turns.add(prompt_id, tenants[prompt_id], steps=left[prompt_id])
        taken = turns.take()
        assert taken is not None
        left[taken] -= 1
        turns.served(taken, 1.0, left[taken])
        for other in turns.begun_ids():
            passed[other] += policy is Policy.FCFS or tenants[other] == tenants[taken]
        passed[taken] = 0
        if not left[taken]:
            turns.remove(taken)
            del left[taken], passed[taken]
        alone = policy is Policy.FCFS or len(set(tenants.values())) == 1
        rounds = MOST_PASSES if alone else MOST_PASSES * HURRIED
        assert all(count <= (rounds + 1) * max_begun for count in passed.values())


@given(policy=st.sampled_from(FAIR_POLICIES), crowd=st.integers(4, 20), steps=st.integers(2, 30))
def test_a_newcomer_waits_for_no_more_than_one_prompt_of_a_crowd(policy: Policy, crowd: int, steps: int) -> None:
    world = _World(StepTurns(policy, 4), 4)
    for number in range(crowd):
        world.add(f"crowd{number}", "crowd", 1.0, 0, steps)
    for _ in range(5):
        world.step(1.0)
    world.add("late", "late", 1.0, 0, steps)
    waited = 0
    while world.step(1.0) != "late":
        waited += 1
        assert waited <= steps

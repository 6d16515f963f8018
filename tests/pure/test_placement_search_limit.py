"""What is said where the search for a plan runs out, apart from what is said where nothing fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aquahost.errors import ConfigError
from aquahost.placement.gpu_program import Placement
from aquahost.placement.parts import parts_of
from aquahost.placement.planner import make_plan
from aquahost.placement.program import UnsolvedError
from aquahost.placement.shortage import does_not_fit
from planned_fleet import fleet, need, places


@pytest.fixture
def exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No search finds anything in time."""

    def place(*args: object, **more: object) -> Placement | None:
        raise UnsolvedError("out of nodes")

    monkeypatch.setattr("aquahost.placement.planner.place", place)


def refuse_simple_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("place_quickly", "divide_quickly"):
        monkeypatch.setattr(f"aquahost.placement.planner.{name}", lambda *args: None)
    monkeypatch.setattr("aquahost.placement.planner.aqua_plan", lambda *args: None)


@pytest.mark.parametrize("servers", [1, 2])
def test_a_search_that_ran_out_claims_no_shortage(
    servers: int, exhausted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_simple_ways(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        make_plan([need("chat", 11)], fleet(2, 20, servers=servers))
    assert str(caught.value).splitlines() == [
        "models: no placement was found within the search's limit; there may be one",
        "it would be easier to find with: some models pinned with gpu:; fewer models; or GPUs with more memory",
    ]


@pytest.mark.parametrize("servers", [1, 2])
def test_where_the_search_runs_out_simple_ways_are_tried(servers: int, exhausted: None) -> None:
    plan = make_plan([need("a", 11), need("b", 11), need("c", 5, group=2)], fleet(2, 20, servers=servers))
    assert len(plan.models) == 3
    # More shards than GPUs, where AQUA has no plan to begin with.
    many = make_plan([need(f"m{n}", 5) for n in range(6)], fleet(2, 20, servers=servers))
    assert max(len(gpu.models) for gpu in many.gpus) <= 4


def test_where_all_can_be_placed_no_shortage_is_claimed() -> None:
    parts = parts_of([need("chat", 11)])
    assert "no placement was found within the search's limit" in str(does_not_fit(parts, fleet(2, 20)))


def test_a_group_without_linked_gpus_lacks_neither_time_nor_memory() -> None:
    pairs = dict.fromkeys([(0, 2), (2, 0), (1, 3), (3, 1)], 1000000000.0)
    where = replace(fleet(4, 10), rates=pairs, link_bytes_per_s=None)
    with pytest.raises(ConfigError) as caught:
        make_plan([need("wide", 9, group=4)], where)
    assert str(caught.value).splitlines()[0] == (
        "models.wide: needs each of 4 GPUs of one server, all linked with each other and with room for it beside the "
        "others; there are none"
    )


def test_what_is_infeasible_is_still_said_to_be() -> None:
    with pytest.raises(ConfigError, match=r"models\.m2: needs 50\.0 GiB of a GPU .* 20\.0 GiB short"):
        make_plan([need(f"m{n}", 50) for n in range(3)], fleet(2, 80))
    assert places(make_plan([need("m", 50)], fleet(1, 80))) == [(0,)]

"""Who lends to whom: usable and fast links first, equals together, borrowers fairly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.events import EventKind
from aquahost.leasing.donors import Want, share_out, stripe
from aquahost.leasing.events import DemandMade, GpuLost, GpuRead, LeaseFailed, LeaseReturned
from aquahost.leasing.instructions import GrantLease, RecallLease
from leasing_node import TOTAL, LeasingNode, all_pairs, announced, only


def granted(node: LeasingNode, nbytes: int, granule_bytes: int = 10, worker: int = 0) -> dict[int, int]:
    """Bytes that are granted for a demand, by donor."""
    return {grant.donor: grant.nbytes for grant in only(GrantLease, node.demand(worker, nbytes, granule_bytes))}


def test_a_demand_is_served_and_announced() -> None:
    node = LeasingNode(1000, 300)
    instructions = node.demand(0, 200)
    (grant,) = only(GrantLease, instructions)
    assert (grant.worker, grant.donor, grant.nbytes) == (0, 1, 200)
    assert announced(instructions) == [EventKind.LEASE_GRANTED]
    assert node.demand(0, 200) == []


def test_a_gpu_without_any_model_lends() -> None:
    node = LeasingNode(1000)
    node.link(all_pairs(2))
    assert only(GrantLease, node.demand(0, 100)) == []
    (grant,) = only(GrantLease, node.tell(GpuRead(1, TOTAL, 0)))
    assert (grant.donor, grant.nbytes) == (1, 100)


def test_a_worker_borrows_nothing_of_its_own_gpu() -> None:
    assert granted(LeasingNode(100), 500) == {}


def test_a_pair_lends_only_if_it_is_usable_both_ways() -> None:
    node = LeasingNode(1000, 0, 0)
    node.link({(0, 1): 100.0, (0, 2): 100.0, (2, 0): 100.0})
    assert granted(node, 500) == {2: 500}


def test_a_link_is_as_fast_as_its_slower_direction_and_the_fastest_comes_first() -> None:
    node = LeasingNode(1000, 500, 500, 500)
    node.link({**all_pairs(4), (0, 1): 900.0, (1, 0): 10.0, (0, 2): 50.0, (2, 0): 50.0})
    assert granted(node, 700) == {3: 500, 2: 200}


def test_a_link_that_becomes_slow_is_passed_over_from_then_on() -> None:
    node = LeasingNode(1000, 0, 0)
    assert granted(node, 200) == {1: 100, 2: 100}
    node.link({**all_pairs(3), (0, 1): 1.0})
    assert granted(node, 600) == {2: 400}


def test_donors_of_about_equal_speed_add_up_their_bandwidth() -> None:
    node = LeasingNode(1000, 0, 0, 0, 0)
    node.link({**all_pairs(5), (0, 4): 79.0, (3, 0): 81.0})
    assert granted(node, 300) == {1: 100, 2: 100, 3: 100}


def test_of_equals_the_roomiest_takes_what_cannot_be_divided() -> None:
    assert granted(LeasingNode(1000, 500, 200, 500), 70, granule_bytes=64) == {2: 64, 3: 64}
    assert granted(LeasingNode(1000, 500, 200, 500), 50, granule_bytes=64) == {2: 64}


def test_leases_are_whole_granules() -> None:
    node = LeasingNode(1000, 795, 935)
    assert granted(node, 1000, granule_bytes=64) == {1: 192, 2: 64}


def test_headroom_is_never_lent_but_its_owner_may_have_it() -> None:
    node = LeasingNode(1000, 300, headroom_bytes=150)
    assert granted(node, 900) == {1: 550}
    assert only(RecallLease, node.claim(1, 450)) == []


def test_a_gpu_that_took_memory_back_lends_none_until_the_cooldown_ends() -> None:
    node = LeasingNode(1000, 300, 900)
    node.borrow(0, 700)
    (recall,) = only(RecallLease, node.claim(1, 500))
    node.give_back(recall)
    node.claim(1, 300)
    assert granted(node, 800) == {}
    assert only(GrantLease, node.wait(4.8)) == []
    assert [grant.donor for grant in only(GrantLease, node.wait(0.4))] == [1]


def test_a_gpu_whose_memory_could_not_be_mapped_is_not_tried_again_at_once_by_the_same_borrower() -> None:
    node = LeasingNode(1000, 500, 1000)
    (grant,) = only(GrantLease, node.demand(0, 400))
    instructions = node.tell(LeaseFailed(grant.lease_id, "out of memory", 0))
    assert announced(instructions) == [EventKind.LEASE_LOST]
    assert node.gpu(1).free_bytes == 500
    assert granted(node, 100, worker=2) == {1: 100}
    assert granted(node, 450) == {}
    assert only(GrantLease, node.wait(4.8)) == []
    assert [grant.nbytes for grant in only(GrantLease, node.wait(0.4))] == [400]


def test_another_donor_takes_the_place_of_one_that_could_not_be_mapped() -> None:
    node = LeasingNode(1000, 0, 0)
    first, second = only(GrantLease, node.demand(0, 200))
    (again,) = only(GrantLease, node.tell(LeaseFailed(first.lease_id, "out of memory", 0)))
    assert (again.donor, again.nbytes) == (second.donor, 100)


def test_a_lost_gpu_lends_nothing() -> None:
    node = LeasingNode(1000, 0, 0)
    node.tell(GpuLost(1, "it fell off the bus"))
    assert granted(node, 500) == {2: 500}


def test_memory_that_becomes_free_serves_whoever_waits() -> None:
    node = LeasingNode(1000, 900)
    assert granted(node, 500) == {1: 100}
    assert [grant.nbytes for grant in only(GrantLease, node.claim(1, 700))] == [200]
    assert node.broker.is_waiting
    assert [grant.nbytes for grant in only(GrantLease, node.leave(1))] == [200]
    assert not node.broker.is_waiting


def test_who_needs_less_gives_back_what_it_likes() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = node.borrow(0, 400)
    assert node.demand(0, 100) == []
    node.tell(LeaseReturned(grant.lease_id, 150, 0))
    assert (node.worker(0).kept_bytes, node.gpu(1).free_bytes) == (250, 450)


def test_borrowers_that_wait_for_the_same_memory_get_equal_shares_of_it() -> None:
    node = LeasingNode(1000, 1000, 1000, 1000)
    node.demand(0, 500)
    node.demand(1, 300)
    node.claim(2, 800)
    assert node.lent() == {(0, 2): 100, (1, 2): 100}
    node.claim(3, 300)
    assert (node.worker(0).kept_bytes, node.worker(1).kept_bytes) == (500, 300)


@pytest.mark.parametrize(("nbytes", "granule_bytes"), [(-1, 10), (100, 0), (100, -5)])
def test_a_demand_that_makes_no_sense_changes_nothing(nbytes: int, granule_bytes: int) -> None:
    node = LeasingNode(1000, 300)
    assert node.tell(DemandMade(0, nbytes, granule_bytes)) == []
    assert node.tell(DemandMade(99, 100, 10)) == []
    assert node.worker(0).demand_bytes == 0


rooms = st.dictionaries(st.integers(0, 7), st.integers(0, 500), min_size=1, max_size=8)


@given(rooms, st.integers(0, 60), st.integers(1, 64), st.data())
def test_striping_places_whole_granules_within_each_room_and_all_that_fits(
    rooms: dict[int, int], granules: int, granule: int, data: st.DataObject
) -> None:
    rates = {donor: data.draw(st.sampled_from([50.0, 81.0, 100.0]), label=f"rate of {donor}") for donor in rooms}
    placed = stripe(granules * granule, granule, rooms, rates)
    assert all(0 < nbytes <= rooms[donor] and nbytes % granule == 0 for donor, nbytes in placed.items())
    assert sum(placed.values()) == min(granules, sum(room // granule for room in rooms.values())) * granule
    for slow, fast in ((slow, fast) for slow in placed for fast in rooms if rates[slow] < 0.8 * rates[fast]):
        assert rooms[fast] - placed.get(fast, 0) < granule, f"{slow} was taken before {fast} was full"


borrowers = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 600)), min_size=1, max_size=5)


@given(borrowers, rooms, st.sampled_from([1, 8, 64]))
def test_shares_are_max_min_fair_and_leave_nothing_that_someone_wants(
    borrowers: list[tuple[int, int]], rooms: dict[int, int], granule: int
) -> None:
    wants = [
        Want(worker=i, held_bytes=held, wanted_bytes=wanted, granule_bytes=granule, rates=dict.fromkeys(rooms, 1.0))
        for i, (held, wanted) in enumerate(borrowers)
    ]
    grants = share_out(wants, rooms)
    got = dict.fromkeys(range(len(borrowers)), 0)
    left = dict(rooms)
    for (worker, donor), nbytes in grants.items():
        got[worker] += nbytes
        left[donor] -= nbytes
    assert min(left.values()) >= 0
    for hungry, (held, wanted) in enumerate(borrowers):
        assert got[hungry] < wanted + granule
        if got[hungry] < wanted:
            assert max(left.values()) < granule, f"{hungry} goes away hungry while there is room"
            richest = max((borrowers[other][0] + got[other] for other in got if got[other]), default=0)
            assert richest <= held + got[hungry] + granule, f"{hungry} is hungry and another has {richest}"

"""Which leases are recalled, by when, and what happens to those who do not give back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.events import EventKind
from aquahost.leasing.events import LeaseReturned, TimePassed
from aquahost.leasing.instructions import GrantLease, KillWorker, RecallLease
from aquahost.leasing.recall_choice import Recallable, choose_recalls
from aquahost.messages.snapshot import LeaseState
from leasing_node import HOST_RATE, PEER_RATE, LeasingNode, all_pairs, announced, only


def test_what_a_borrower_no_longer_needs_is_recalled_before_what_another_uses() -> None:
    node = LeasingNode(1000, 0, 1000)
    node.borrow(0, 400)
    node.borrow(2, 400)
    node.demand(0, 100)
    (recall,) = only(RecallLease, node.claim(1, 450))
    assert (recall.worker, recall.keep_bytes) == (0, 150)


def test_what_is_not_mapped_yet_is_recalled_before_what_is() -> None:
    node = LeasingNode(1000, 0, 1000)
    node.borrow(0, 400)
    (grant,) = only(GrantLease, node.demand(2, 400))
    (recall,) = only(RecallLease, node.claim(1, 300))
    assert (recall.lease_id, recall.keep_bytes) == (grant.lease_id, 300)
    node.give_back(recall)
    assert node.broker.ledger.leases[grant.lease_id].state is LeaseState.GRANTED


def test_of_two_borrowers_the_one_with_the_faster_link_gives_back() -> None:
    node = LeasingNode(1000, 0, 1000)
    node.link({**all_pairs(3), (0, 1): 20.0})
    node.borrow(0, 400)
    node.borrow(2, 400)
    assert [recall.worker for recall in only(RecallLease, node.claim(1, 500))] == [2]


def test_a_granule_that_fits_the_need_is_better_than_a_coarse_one() -> None:
    node = LeasingNode(1000, 0, 1000)
    node.borrow(0, 400, granule_bytes=10)
    node.borrow(2, 400, granule_bytes=100)
    (recall,) = only(RecallLease, node.claim(1, 210))
    assert (recall.worker, recall.keep_bytes) == (0, 390)


def test_more_than_one_lease_holds_is_recalled_from_several() -> None:
    node = LeasingNode(1000, 0, 1000)
    node.borrow(0, 400)
    node.borrow(2, 400)
    recalls = only(RecallLease, node.claim(1, 800))
    assert sorted((recall.worker, recall.keep_bytes) for recall in recalls) == [(0, 200), (2, 0)]


def test_another_lease_is_granted_before_the_first_is_recalled_if_a_neighbour_has_room() -> None:
    node = LeasingNode(1000, 300, 1000)
    node.borrow(0, 500)
    node.claim(2, 900)
    instructions = node.claim(1, 650)
    (grant,) = only(GrantLease, instructions)
    (recall,) = only(RecallLease, instructions)
    assert instructions.index(grant) < instructions.index(recall)
    assert (grant.donor, grant.nbytes, recall.keep_bytes) == (2, 100, 350)


def test_what_the_borrower_does_not_need_any_more_is_not_replaced() -> None:
    node = LeasingNode(1000, 300, 0)
    node.link({**all_pairs(3), (0, 2): 1.0})
    node.borrow(0, 500)
    node.demand(0, 100)
    instructions = node.claim(1, 600)
    assert only(RecallLease, instructions)
    assert only(GrantLease, instructions) == []


def test_the_deadline_allows_for_copying_to_the_host() -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    (recall,) = only(RecallLease, node.claim(1, 700))
    assert recall.deadline_s - node.now_s == pytest.approx(200 / HOST_RATE + 1.0)


def test_the_deadline_is_short_where_a_neighbour_takes_the_bytes() -> None:
    node = LeasingNode(1000, 300, 1000)
    node.borrow(0, 500)
    node.claim(2, 900)
    (recall,) = only(RecallLease, node.claim(1, 700))
    assert recall.deadline_s - node.now_s == pytest.approx(100 / PEER_RATE + 100 / HOST_RATE + 1.0)


def test_a_slow_link_s_deadline_is_late_once_the_link_was_measured_again() -> None:
    node = LeasingNode(1000, 300, 1000)
    node.borrow(0, 500)
    node.claim(2, 900)
    node.link(all_pairs(3, PEER_RATE / 100))
    (recall,) = only(RecallLease, node.claim(1, 600))
    assert recall.deadline_s - node.now_s == pytest.approx(100 / (PEER_RATE / 100) + 1.0)


def test_two_donors_that_recall_from_one_borrower_share_its_link() -> None:
    node = LeasingNode(1000, 500, 500)
    node.borrow(0, 1000)
    node.claim(1, 600)
    (recall,) = only(RecallLease, node.claim(2, 700))
    assert recall.deadline_s - node.now_s == pytest.approx((100 + 200) / HOST_RATE + 1.0)


def test_a_recall_that_is_ignored_is_announced_and_then_costs_the_worker_its_life() -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    (recall,) = only(RecallLease, node.claim(1, 700))
    allowed_s = recall.deadline_s - node.now_s
    assert node.wait(allowed_s - 0.2) == []
    assert announced(node.wait(0.4)) == [EventKind.LEASE_OVERDUE]
    assert node.wait(allowed_s - 0.6) == []
    assert [kill.worker for kill in only(KillWorker, node.wait(0.6))] == [0]
    assert node.wait(allowed_s) == []
    node.leave(0)
    assert node.gpu(1).claims[1] == 700


def test_a_daemon_that_stood_still_kills_nobody_for_it() -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    (recall,) = only(RecallLease, node.claim(1, 700))
    node.wait(1.0)
    node.now_s += 1000.0
    assert node.tell(TimePassed()) == []
    node.give_back(recall)
    assert node.gpu(1).claims[1] == 700


def test_a_second_recall_of_the_same_lease_lowers_what_is_kept_and_never_shortens_the_time() -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    (first,) = only(RecallLease, node.claim(1, 700))
    node.now_s += 1.0
    (second,) = only(RecallLease, node.claim(1, 710))
    assert second.lease_id == first.lease_id
    assert (first.keep_bytes, second.keep_bytes) == (300, 290)
    assert second.deadline_s > first.deadline_s


def test_a_recall_in_parts_ends_when_all_of_it_is_back() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = node.borrow(0, 500)
    node.claim(1, 700)
    lease = node.broker.ledger.leases[grant.lease_id]
    assert announced(node.tell(LeaseReturned(lease.id, 150, 0))) == []
    assert lease.state is LeaseState.RECALLING
    assert announced(node.tell(LeaseReturned(lease.id, 50, 0))) == [EventKind.LEASE_RETURNED]
    assert (lease.state, lease.nbytes, lease.deadline_s) == (LeaseState.MAPPED, 300, None)


options = st.builds(
    Recallable,
    lease_id=st.integers(1, 99),
    worker=st.integers(0, 3),
    keep_bytes=st.integers(0, 200),
    granule_bytes=st.sampled_from([1, 8, 50]),
    empty_bytes=st.integers(0, 100),
    bytes_per_s=st.sampled_from([10.0, 100.0]),
)


@given(st.lists(options, max_size=6, unique_by=lambda option: option.lease_id), st.integers(0, 700))
def test_what_is_chosen_suffices_or_is_all_there_is_and_is_little_too_much(
    options: list[Recallable], nbytes: int
) -> None:
    by_id = {option.lease_id: option for option in options}
    chosen = choose_recalls(options, nbytes)
    assert len({lease_id for lease_id, _ in chosen}) == len(chosen)
    for lease_id, taken in chosen:
        option = by_id[lease_id]
        assert 0 < taken <= option.keep_bytes
        assert taken % option.granule_bytes == 0 or taken == option.keep_bytes
    total = sum(taken for _, taken in chosen)
    assert total >= min(nbytes, sum(option.keep_bytes for option in options))
    if chosen:
        last_id, last = chosen[-1]
        assert total - last < nbytes
        assert total - nbytes < by_id[last_id].granule_bytes

"""Whatever dies, fails or lies: no byte is lost, and none is given twice."""

from __future__ import annotations

import pytest

from aquahost.events import EventKind
from aquahost.leasing.events import (
    BrokerEvent,
    GpuLost,
    LeaseFailed,
    LeaseMapped,
    LeaseReturned,
    WorkerJoined,
    WorkerLeft,
)
from aquahost.leasing.instructions import DropLease, GrantLease, KillWorker, RecallLease, SettleClaim
from leasing_node import LeasingNode, all_pairs, announced, only


def test_a_borrower_that_is_killed_leaves_all_it_borrowed() -> None:
    node = LeasingNode(1000, 300, 500)
    node.borrow(0, 900)
    node.claim(1, 800)
    instructions = node.leave(0)
    assert only(SettleClaim, instructions) == [SettleClaim(1, 800)]
    assert announced(instructions).count(EventKind.LEASE_RETURNED) == 3  # the one in place of what was recalled, too
    assert [node.gpu(gpu).lent_bytes for gpu in (1, 2)] == [0, 0]
    assert node.broker.ledger.leases == {}


def test_a_donor_that_is_killed_goes_on_lending_and_gets_its_memory_when_it_is_back() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = node.borrow(0, 500)
    node.leave(1)
    assert node.gpu(1).lent_bytes == 500
    node.tell(WorkerJoined(2, "model1", 1))
    (recall,) = only(RecallLease, node.claim(2, 600))
    assert recall.lease_id == grant.lease_id
    assert only(SettleClaim, node.give_back(recall)) == [SettleClaim(2, 600)]


def test_memory_that_runs_out_in_the_middle_of_a_grant_is_free_again() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = only(GrantLease, node.demand(0, 500))
    node.tell(LeaseFailed(grant.lease_id, "CUDA_ERROR_OUT_OF_MEMORY", 0))
    assert (node.gpu(1).free_bytes, node.lent()) == (700, {})


def test_a_grant_that_fails_while_it_is_recalled_settles_the_claim() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = only(GrantLease, node.demand(0, 700))
    node.claim(1, 600)
    assert only(SettleClaim, node.tell(LeaseFailed(grant.lease_id, "no", 0))) == [SettleClaim(1, 600)]
    assert not node.broker.ledger.recalling


def test_a_pair_that_was_refused_never_lends() -> None:
    node = LeasingNode(1000, 0, 0)
    usable = {pair: rate for pair, rate in all_pairs(3).items() if pair not in ((0, 1), (1, 0))}
    node.link(usable)
    node.demand(0, 2000)
    assert set(node.lent()) == {(0, 2)}


def test_two_donors_recall_at_once_from_one_borrower() -> None:
    node = LeasingNode(1000, 500, 500)
    node.borrow(0, 1000)
    (first,) = only(RecallLease, node.claim(1, 700))
    (second,) = only(RecallLease, node.claim(2, 900))
    assert only(SettleClaim, node.give_back(second)) == [SettleClaim(2, 900)]
    assert only(SettleClaim, node.give_back(first)) == [SettleClaim(1, 700)]
    assert node.lent() == {(0, 1): 300, (0, 2): 100}


def test_a_borrower_that_owes_two_donors_is_killed_once() -> None:
    node = LeasingNode(1000, 500, 500)
    node.borrow(0, 1000)
    node.claim(1, 700)
    node.claim(2, 900)
    assert len(only(KillWorker, node.wait(300))) == 1
    assert only(GrantLease, node.demand(0, 5000)) == []


def test_what_lay_on_a_lost_gpu_is_gone_and_its_borrowers_are_told() -> None:
    node = LeasingNode(1000, 300, 500, 1000)
    mine, other = sorted(node.borrow(0, 800), key=lambda grant: grant.donor)
    theirs = node.borrow(3, 200)
    instructions = node.tell(GpuLost(1, "it fell off the bus"))
    dropped = {drop.lease_id for drop in only(DropLease, instructions)}
    on_one = {grant.lease_id for grant in (mine, other, *theirs) if grant.donor == 1}
    assert dropped == on_one
    assert announced(instructions).count(EventKind.LEASE_LOST) == len(on_one)
    assert EventKind.GPU_LOST in announced(instructions)
    assert node.gpu(1).lent_bytes == 0
    assert node.tell(GpuLost(1, "again")) == []


def test_a_claim_that_waits_for_a_borrower_on_a_lost_gpu_is_settled_when_that_borrower_is_gone() -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    node.tell(GpuLost(0, "it fell off the bus"))
    node.claim(1, 900)
    assert only(SettleClaim, node.leave(0)) == [SettleClaim(1, 900)]


LATE: list[BrokerEvent] = [
    LeaseMapped(1, 0),
    LeaseMapped(99, 0),
    LeaseMapped(1, 99),
    LeaseReturned(1, 10, 1),
    LeaseReturned(99, 10, 0),
    LeaseReturned(1, -10, 0),
    LeaseReturned(1, 0, 0),
    LeaseFailed(1, "not mine", 1),
    LeaseFailed(99, "unknown", 0),
    WorkerLeft(99),
]


@pytest.mark.parametrize("event", LATE, ids=str)
def test_messages_that_are_late_or_another_s_change_nothing(event: BrokerEvent) -> None:
    node = LeasingNode(1000, 300)
    node.borrow(0, 500)
    assert node.tell(event) == []
    assert node.lent() == {(0, 1): 500}


def test_who_returns_more_than_there_is_has_returned_all() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = node.borrow(0, 500)
    node.demand(0, 0)
    node.tell(LeaseReturned(grant.lease_id, 10_000, 0))
    assert (node.lent(), node.gpu(1).free_bytes) == ({}, 700)
    assert node.tell(LeaseReturned(grant.lease_id, 1, 0)) == []


def test_a_lease_that_is_mapped_after_its_recall_is_still_owed() -> None:
    node = LeasingNode(1000, 300)
    (grant,) = only(GrantLease, node.demand(0, 500))
    (recall,) = only(RecallLease, node.claim(1, 700))
    node.map([grant])
    assert node.gpu(1).recalled_bytes == 200
    assert only(SettleClaim, node.give_back(recall)) == [SettleClaim(1, 700)]

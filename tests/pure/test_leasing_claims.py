"""Owners first: claims on a GPU's own memory, settled, waiting, refused."""

from __future__ import annotations

from aquahost.leasing.events import ClaimMade, GpuLost, GpuRead, LeaseReturned, WorkerJoined
from aquahost.leasing.instructions import GrantLease, RecallLease, RefuseClaim, SettleClaim
from leasing_node import TOTAL, LeasingNode, only


def lending_node(*others: int) -> LeasingNode:
    """GPU 0 claims everything and borrows 600 of GPU 1, whose worker claims 300; GPU 1 has 100 free."""
    node = LeasingNode(1000, 300, *others)
    node.borrow(0, 600)
    return node


def test_a_claim_that_fits_is_settled_at_once() -> None:
    node = lending_node()
    assert node.claim(1, 400) == [SettleClaim(1, 400)]
    assert node.gpu(1).free_bytes == 0


def test_a_larger_claim_recalls_exactly_what_is_missing_and_is_settled_when_that_is_back() -> None:
    node = lending_node()
    instructions = node.claim(1, 455)
    (recall,) = only(RecallLease, instructions)
    assert (recall.worker, recall.keep_bytes) == (0, 540)  # 55 missing are 6 granules of 10
    assert only(SettleClaim, instructions) == []
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 50, 0))) == []
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 10, 0))) == [SettleClaim(1, 455)]
    assert node.gpu(1).free_bytes == 5


def test_what_is_free_already_is_not_recalled_twice() -> None:
    node = lending_node()
    node.claim(1, 500)
    instructions = node.claim(1, 520)
    (recall,) = only(RecallLease, instructions)
    assert recall.keep_bytes == 480
    assert node.gpu(1).recalled_bytes == 120


def test_nothing_else_is_settled_or_lent_there_while_a_claim_waits() -> None:
    node = lending_node(1000)
    node.tell(WorkerJoined(9, "second", 1))
    (recall,) = only(RecallLease, node.claim(1, 450))
    # 100 are free, and wait for the first one.
    assert only(SettleClaim, node.claim(9, 10)) == []
    assert only(GrantLease, node.demand(2, 100)) == []
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 50, 0))) == [SettleClaim(1, 450)]
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 10, 0))) == [SettleClaim(9, 10)]


def test_a_smaller_claim_is_in_force_at_once_and_settles_another_s() -> None:
    node = LeasingNode(600, 1000)
    node.tell(WorkerJoined(9, "second", 0))
    node.borrow(1, 400)
    assert only(SettleClaim, node.claim(9, 200)) == []
    assert only(SettleClaim, node.claim(0, 300)) == [SettleClaim(0, 300), SettleClaim(9, 200)]


def test_a_claim_that_could_never_fit_is_refused_with_the_most_it_could_have() -> None:
    node = lending_node()
    node.tell(WorkerJoined(9, "second", 1))
    node.claim(9, 50)
    node.tell(GpuRead(1, TOTAL, 20))
    assert node.claim(1, 931) == [RefuseClaim(1, 931, 930)]
    assert only(RecallLease, node.claim(1, 930))
    assert node.gpu(1).claims[1] == 300


def test_claims_that_wait_count_when_others_are_judged() -> None:
    node = lending_node()
    node.tell(WorkerJoined(9, "second", 1))
    node.claim(1, 900)
    assert node.claim(9, 101) == [RefuseClaim(9, 101, 100)]


def test_a_waiting_claim_is_refused_once_other_processes_take_the_memory() -> None:
    node = lending_node()
    node.claim(1, 900)
    assert only(RefuseClaim, node.tell(GpuRead(1, TOTAL, 200))) == [RefuseClaim(1, 900, 800)]


def test_a_claim_taken_back_leaves_what_was_recalled_free_and_it_is_lent_again_after_the_cooldown() -> None:
    node = lending_node()
    (recall,) = only(RecallLease, node.claim(1, 700))
    assert only(SettleClaim, node.claim(1, 300)) == [SettleClaim(1, 300)]
    assert only(GrantLease, node.give_back(recall)) == []
    assert node.gpu(1).free_bytes == 400
    (grant,) = only(GrantLease, node.wait(6))
    assert (grant.worker, grant.donor, grant.nbytes) == (0, 1, 300)


def test_a_changed_claim_keeps_its_place() -> None:
    node = lending_node()
    node.tell(WorkerJoined(9, "second", 1))
    (recall,) = only(RecallLease, node.claim(1, 450))
    node.claim(9, 100)
    node.claim(1, 460)
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 60, 0))) == [SettleClaim(1, 460)]


def test_two_claims_race_and_both_are_settled_in_order() -> None:
    node = lending_node()
    node.tell(WorkerJoined(9, "second", 1))
    node.claim(1, 500)
    (recall,) = only(RecallLease, node.claim(9, 200))
    assert recall.keep_bytes == 300
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 100, 0))) == [SettleClaim(1, 500)]
    assert only(SettleClaim, node.tell(LeaseReturned(recall.lease_id, 200, 0))) == [SettleClaim(9, 200)]


def test_a_worker_that_leaves_makes_room_and_its_waiting_claim_is_forgotten() -> None:
    node = lending_node()
    node.tell(WorkerJoined(9, "second", 1))
    node.claim(1, 900)
    node.claim(9, 50)
    assert only(SettleClaim, node.leave(1)) == [SettleClaim(9, 50)]
    assert node.gpu(1).pending == {}


def test_a_claim_waits_until_its_gpu_was_read() -> None:
    node = LeasingNode()
    node.tell(WorkerJoined(7, "early", 3))
    assert node.claim(7, 10) == []
    assert node.tell(GpuRead(3, TOTAL, 0)) == [SettleClaim(7, 10)]


def test_more_memory_of_a_lost_gpu_is_refused() -> None:
    node = lending_node()
    node.claim(1, 900)
    assert only(RefuseClaim, node.tell(GpuLost(1, "it fell off the bus"))) == [RefuseClaim(1, 900, 300)]
    assert node.claim(1, 301) == [RefuseClaim(1, 301, 300)]


def test_memory_that_others_take_is_recalled_from_the_leases() -> None:
    node = lending_node()
    (recall,) = only(RecallLease, node.tell(GpuRead(1, TOTAL, 145)))
    assert recall.keep_bytes == 550
    node.give_back(recall)
    assert node.gpu(1).free_bytes == 5


def test_claims_of_strangers_and_negative_ones_change_nothing() -> None:
    node = lending_node()
    assert node.tell(ClaimMade(99, 10)) == []
    assert node.claim(1, -1) == []
    node.tell(WorkerJoined(1, "twice", 0))
    assert (node.worker(1).gpu, node.gpu(1).claims[1]) == (1, 300)

"""Which of a worker's claims the broker's answers are for."""

from __future__ import annotations

import pytest

from aquahost.clock import VirtualClock
from aquahost.config.settings import LeasingSettings
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.messages.memory import Claim, ClaimRefused, ClaimSettled


@pytest.fixture
def desk() -> MemoryDesk:
    """A desk whose broker is far away: answers come when the test says so."""
    return MemoryDesk(LeasingSettings(), VirtualClock(), exchange=lambda _: [])


def test_less_is_given_up_at_once_and_more_may_be_held_once_it_is_settled(desk: MemoryDesk) -> None:
    assert not desk.claim(Part.KV, 100)
    assert desk.take_reports() == [Claim(100)]
    desk.on_memory(ClaimSettled(100))
    assert desk.settled(Part.KV) == 100
    assert desk.claim(Part.KV, 40)
    assert desk.take_reports() == [Claim(40)]


def test_an_old_answer_does_not_settle_a_new_claim_of_the_same_size(desk: MemoryDesk) -> None:
    for nbytes in (100, 0, 100):
        desk.claim(Part.KV, nbytes)
    desk.on_memory(ClaimSettled(100))  # the first one, given up since
    assert not desk.is_settled
    assert desk.settled(Part.KV) == 0
    desk.on_memory(ClaimSettled(0))
    desk.on_memory(ClaimSettled(100))
    assert desk.settled(Part.KV) == 100


def test_a_part_that_shrank_while_another_waited_in_vain_is_given_up_at_the_broker_too(desk: MemoryDesk) -> None:
    desk.claim(Part.KV, 100)
    desk.on_memory(ClaimSettled(100))
    desk.claim(Part.WORK, 500)
    desk.claim(Part.KV, 60)
    desk.take_reports()
    desk.on_memory(ClaimRefused(600, 300))  # overtaken by the next
    assert desk.refused is None
    desk.on_memory(ClaimRefused(560, 300))
    assert (desk.settled(Part.KV), desk.wanted(Part.WORK)) == (60, 0)
    assert desk.take_reports() == [Claim(60)]


def test_an_answer_to_nothing_changes_nothing(desk: MemoryDesk) -> None:
    desk.on_memory(ClaimSettled(100))
    desk.claim(Part.KV, 50)
    desk.on_memory(ClaimSettled(100))
    assert not desk.is_settled

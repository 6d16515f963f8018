"""Rules of durable jobs: what may become of them, what is kept, when to try again, whose share they have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.daemon.jobs import names
from aquahost.daemon.jobs.accounts import AccountWeights, account_of
from aquahost.daemon.jobs.ages import Ages
from aquahost.daemon.jobs.pauses import LONGEST_S, Pauses
from aquahost.daemon.jobs.retention import NEWEST_S, Kept, surplus
from aquahost.daemon.jobs.states import BATCH_COMES_FROM, JOB_COMES_FROM
from aquahost.messages.jobs import BatchState, JobState

KEPT = st.lists(
    st.builds(
        Kept,
        st.sampled_from(["job", "batch", "file"]),
        st.uuids().map(str),
        st.sampled_from(["web", "lab"]),
        st.floats(0, 1000),
        st.integers(0, 100),
    ),
    max_size=30,
)


def test_what_has_ended_stays_and_every_state_can_be_reached() -> None:
    for state in JobState:
        assert all(not origin.has_ended for origin in JOB_COMES_FROM[state])
        assert JOB_COMES_FROM[state]
    for batch_state in BatchState:
        assert all(not origin.has_ended for origin in BATCH_COMES_FROM[batch_state])
        assert bool(BATCH_COMES_FROM[batch_state]) is (batch_state is not BatchState.VALIDATING)
    assert JobState.QUEUED not in JOB_COMES_FROM[JobState.COMPLETED]


@given(KEPT, st.floats(0, 2000), st.floats(0, 1000), st.integers(0, 1000))
def test_retention(kept: list[Kept], now_s: float, keep_s: float, room_bytes: int) -> None:
    gone = surplus(kept, age_s=lambda since_s: now_s - since_s, keep_s=keep_s, room_bytes=room_bytes)
    left = [one for one in kept if one not in gone]
    assert all(now_s - one.since_s <= keep_s for one in left)
    for tenant in ("web", "lab"):
        own = [one for one in left if one.tenant == tenant and one.nbytes]
        newest_s = max((one.since_s for one in own), default=0.0)
        assert sum(one.nbytes for one in own) <= room_bytes or all(one.since_s >= newest_s - NEWEST_S for one in own)
    by_size = [one for one in gone if now_s - one.since_s <= keep_s]
    for one in by_size:  # it had to go: whatever of its tenant is younger, and it, are too much
        assert one.nbytes
        own = [other for other in kept if other.tenant == one.tenant]
        assert any(other.nbytes and other.since_s > one.since_s + NEWEST_S for other in own), (
            "nothing makes room for itself"
        )
        younger = [other for other in own if (other.since_s, other.kind, other.id) >= (one.since_s, one.kind, one.id)]
        assert sum(other.nbytes for other in younger) > room_bytes


def test_no_tenant_makes_room_for_another_and_what_came_last_stays() -> None:
    small = Kept("file", "a", "web", 1.0, 10)
    output = [Kept("file", "b", "lab", 7.0, 500), Kept("file", "c", "lab", 8.0, 5)]
    older = Kept("job", "d", "lab", 6.5, 1)
    assert surplus([small, *output, older], age_s=lambda since_s: 9.0 - since_s, keep_s=9.0, room_bytes=100) == [older]


def test_a_clock_that_jumps_ahead_makes_nothing_older_that_was_there() -> None:
    ages, day_s = Ages(), 86_400.0
    assert ages.look(1000.0, 10.0) == 0.0
    assert ages.look(1060.5, 70.0) == 0.0, "clocks are set by a little all the time"
    assert ages.age_s(1000.0) == 60.5
    assert ages.look(1120.5 + day_s, 130.0) == day_s
    assert ages.age_s(1000.0) == 120.5
    assert ages.look(1180.5 + day_s, 190.0) == 0.0
    assert (ages.age_s(1000.0), ages.age_s(1120.5 + day_s)) == (180.5, 60.0), "what came since then has its own age"
    assert ages.look(1240.5, 250.0) == -day_s, "and back"
    assert ages.age_s(1000.0) == 240.5
    ages.look(1200.0 + 2 * day_s, 310.0)
    ages.look(1200.0 + day_s, 370.0)
    assert ages.age_s(1000.0) == pytest.approx(360.5, abs=0.1), "half of it back"


@given(st.lists(st.tuples(st.integers(0, 200), st.one_of(st.none(), st.integers(0, 500))), max_size=20))
def test_pauses_last_as_long_as_asked_and_no_longer_than_need_be(refusals: list[tuple[int, int | None]]) -> None:
    pauses, now_s = Pauses(), 0.0
    for wait_s, asked_s in refusals:
        left_s = pauses.next_s(now_s)
        pauses.refused("m", "t", now_s=now_s, retry_after_s=asked_s, why="no")
        pause_s = pauses.next_s(now_s)
        assert pause_s is not None
        assert pauses.tenants("m", now_s) == ["t"]
        assert pauses.tenants("other", now_s) == []
        if left_s is None:
            assert max(asked_s or 0, 1) <= pause_s <= max(asked_s or 0, LONGEST_S)
        else:
            assert pause_s == left_s  # one of several that were refused together
        now_s += wait_s
    assert pauses.why("m", "t") == ("no" if refusals else "")
    pauses.taken("m", "t")
    assert pauses.why("m", "t") == ""
    assert pauses.tenants("m", now_s) == []


def test_a_pause_doubles_with_each_refusal_in_a_row() -> None:
    pauses, now_s, lengths = Pauses(), 0.0, []
    for _ in range(9):
        pauses.refused("m", "t", now_s=now_s, retry_after_s=None, why="no")
        lengths.append(pauses.next_s(now_s) or 0.0)
        now_s += lengths[-1]
    assert lengths == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_jobs_have_a_part_of_their_tenant_s_share() -> None:
    weights = AccountWeights({"web": 4.0}, 0.25)
    assert weights.get(account_of("web"), 1.0) == 1.0
    assert weights.get(account_of("default"), 1.0) == 0.25
    assert weights.get("stranger", 1.0) == 1.0
    assert list(weights) == ["web"]


@given(st.text(max_size=40))
def test_no_foreign_text_is_a_name(text: str) -> None:
    assert not names.is_name(text)


def test_our_names_are_names() -> None:
    made = [names.job_id(), names.file_id(), names.batch_id()]
    assert all(names.is_name(name) for name in made)
    assert not any(names.is_name(name + "\n") or names.is_name("../" + name) for name in made)

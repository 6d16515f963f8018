"""Where a borrower puts what lies in memory that is wanted back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aquahost.leasing.recall_plan import Assignment, LentChunk, Target, plan_recall

SIZE = 64


def chunks(*used_bytes: int) -> list[LentChunk]:
    return [LentChunk(index, SIZE, used) for index, used in enumerate(used_bytes)]


def test_empty_chunks_are_given_up_first_and_cost_nothing() -> None:
    assert plan_recall(chunks(9, 0, 5, 0), 2 * SIZE, [70], 1000) == [
        Assignment(1, SIZE, Target.NOWHERE),
        Assignment(3, SIZE, Target.NOWHERE),
    ]


def test_neighbours_come_before_the_host_and_the_least_used_is_dropped() -> None:
    assert plan_recall(chunks(30, 10, 20), 3 * SIZE, [70], SIZE) == [
        Assignment(1, SIZE, Target.DROP),
        Assignment(2, SIZE, Target.HOST),
        Assignment(0, SIZE, Target.PEER, 70),
    ]


def test_no_more_is_given_up_than_is_wanted() -> None:
    assert [step.chunk for step in plan_recall(chunks(30, 10, 20), SIZE + 1, [], 0)] == [1, 2]
    assert plan_recall(chunks(30, 10), 0, [70], 1000) == []


lent = st.builds(lambda used: chunks(*used), st.lists(st.one_of(st.just(0), st.integers(0, SIZE)), max_size=10))


@given(
    lent, st.integers(0, 12 * SIZE), st.lists(st.integers(100, 200), unique=True, max_size=5), st.integers(0, 5 * SIZE)
)
def test_a_plan_gives_back_enough_loses_the_least_and_overfills_nothing(
    lent: list[LentChunk], nbytes: int, peers: list[int], host_room_bytes: int
) -> None:
    plan = plan_recall(lent, nbytes, peers, host_room_bytes)
    by_index = {chunk.index: chunk for chunk in lent}
    given_up = [step.chunk for step in plan]
    assert len(set(given_up)) == len(given_up)
    assert sum(step.nbytes for step in plan) >= min(nbytes, SIZE * len(lent))
    assert len(plan) == min(-(-nbytes // SIZE), len(lent))
    kept_used = [chunk.used_bytes for chunk in lent if chunk.index not in given_up]
    assert max((by_index[index].used_bytes for index in given_up), default=0) <= min(kept_used, default=SIZE)

    used_peers = [step.peer_chunk for step in plan if step.target is Target.PEER]
    assert len(set(used_peers)) == len(used_peers)
    assert set(used_peers) <= set(peers)
    to_host = [step for step in plan if step.target is Target.HOST]
    assert sum(step.nbytes for step in to_host) <= host_room_bytes
    assert len(used_peers) == len(peers) or not to_host, "the host takes what a neighbour has room for"
    dropped = [by_index[step.chunk].used_bytes for step in plan if step.target is Target.DROP]
    saved = [by_index[step.chunk].used_bytes for step in plan if step.target in (Target.PEER, Target.HOST)]
    assert max(dropped, default=0) <= min(saved, default=SIZE)
    assert all((step.target is Target.NOWHERE) == (by_index[step.chunk].used_bytes == 0) for step in plan)
    if dropped:
        assert len(saved) == len(peers) + host_room_bytes // SIZE

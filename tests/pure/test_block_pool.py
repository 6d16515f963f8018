"""KV block ids: each is free or held, never both, never lost, whatever memory comes and goes."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aquahost.engines.llm.block_pool import BlockPool
from aquahost.engines.llm.tiers import Tier


def make_pool(*, chunk_blocks: int = 4, local: int = 1, blocks: int | None = None) -> BlockPool:
    pool = BlockPool(chunk_blocks)
    for chunk in range(local):
        pool.add(chunk, Tier.LOCAL, blocks=blocks)
    return pool


def test_low_blocks_are_given_first_and_freed_ones_again() -> None:
    pool = make_pool(chunk_blocks=5)
    assert pool.allocate(3, Tier.LOCAL) == [0, 1, 2]
    pool.release([1])
    assert pool.allocate(1, Tier.LOCAL) == [1]
    assert pool.free(Tier.LOCAL) == 2


def test_low_chunks_are_filled_first_so_that_high_ones_fall_empty() -> None:
    pool = make_pool(local=3)
    taken = pool.allocate(9, Tier.LOCAL)
    pool.release(taken[:4])
    pool.allocate(2, Tier.LOCAL)
    assert [pool.used(chunk) for chunk in range(3)] == [2, 4, 1]


def test_too_many_blocks_are_refused_and_nothing_is_given() -> None:
    pool = make_pool(blocks=2)
    with pytest.raises(ValueError, match="3 local blocks asked, 2 of 2 free"):
        pool.allocate(3, Tier.LOCAL)
    with pytest.raises(ValueError, match="1 peer blocks asked, 0 of 0 free"):
        pool.allocate(1, Tier.PEER)
    pool.check([])


def test_blocks_are_spread_over_the_links_of_a_tier() -> None:
    pool = BlockPool(4)
    for chunk, donor in ((3, 1), (4, 1), (5, 2), (6, 7)):
        pool.add(chunk, Tier.PEER, group=donor)
    taken = pool.allocate(9, Tier.PEER)
    donors = {3: 1, 4: 1, 5: 2, 6: 7}
    assert sorted(donors[block // 4] for block in taken) == [1] * 3 + [2] * 3 + [7] * 3
    assert sorted(donors[block // 4] for block in pool.allocate(7, Tier.PEER)) == [1] * 5 + [2] + [7]
    assert pool.free(Tier.PEER) == 0


def test_a_closed_chunk_gives_nothing_out_and_loses_its_memory_only_when_empty() -> None:
    pool = make_pool(local=2)
    taken = pool.allocate(5, Tier.LOCAL)
    pool.close(0)
    pool.close(0)
    assert pool.free(Tier.LOCAL) == 3
    assert pool.blocks(Tier.LOCAL) == 8
    pool.release(taken[:1])
    assert pool.free(Tier.LOCAL) == 3
    with pytest.raises(ValueError, match="still holds 3 blocks"):
        pool.remove(0)
    pool.reopen(0, Tier.HOST)
    assert (pool.free(Tier.LOCAL), pool.free(Tier.HOST)) == (3, 1)
    assert pool.tier(taken[1]) is Tier.HOST
    pool.release(taken[1:4])
    pool.remove(0)
    assert (pool.free(Tier.HOST), pool.given) == (0, 1)
    pool.check(taken[4:])


def test_the_check_finds_a_block_held_twice_or_lost() -> None:
    pool = make_pool()
    taken = pool.allocate(2, Tier.LOCAL)
    with pytest.raises(AssertionError):
        pool.check(taken[:1])
    pool.release([taken[0]])
    with pytest.raises(AssertionError):
        pool.check(taken)


class PoolMachine(RuleBasedStateMachine):
    """Chunks come, close, change their tier and go, while blocks are taken and given back."""

    @initialize(chunk_blocks=st.integers(1, 5))
    def begin(self, chunk_blocks: int) -> None:
        self.pool = BlockPool(chunk_blocks)
        self.chunks: dict[int, bool] = {}
        self.held: list[int] = []

    @rule(chunk=st.integers(0, 9), tier=st.sampled_from(Tier), group=st.integers(0, 2))
    def add_or_reopen(self, chunk: int, tier: Tier, group: int) -> None:
        if chunk not in self.chunks:
            self.pool.add(chunk, tier, group=group)
        elif not self.chunks[chunk]:
            self.pool.reopen(chunk, tier, group=group)
        self.chunks[chunk] = True

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.chunks)))
        self.pool.close(chunk)
        self.chunks[chunk] = False

    @precondition(lambda self: self.chunks)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.chunks)))
        if self.pool.used(chunk):
            with pytest.raises(ValueError, match="still holds"):
                self.pool.remove(chunk)
        else:
            self.pool.remove(chunk)
            del self.chunks[chunk]

    @rule(tier=st.sampled_from(Tier), count=st.integers(1, 12))
    def take(self, tier: Tier, count: int) -> None:
        if count <= self.pool.free(tier):
            taken = self.pool.allocate(count, tier)
            assert len(taken) == count
            assert all(self.pool.tier(block) is tier for block in taken)
            assert all(self.chunks[block // self.pool.chunk_blocks] for block in taken), "of a closed chunk"
            self.held += taken

    @rule(first=st.integers(0, 20), count=st.integers(1, 8))
    def give_back(self, first: int, count: int) -> None:
        self.pool.release(self.held[first : first + count])
        del self.held[first : first + count]

    @invariant()
    def conserved(self) -> None:
        self.pool.check(self.held)
        assert self.pool.given == len(self.held)
        for chunk in self.chunks:
            ids = [block for block in self.held if block // self.pool.chunk_blocks == chunk]
            assert self.pool.used_ids(chunk) == sorted(ids)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

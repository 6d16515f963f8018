"""KV block ids: each is free or held, never both, never lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.engines.llm.block_pool import BlockPool


def test_low_blocks_are_given_first_and_freed_ones_again() -> None:
    pool = BlockPool(5)
    assert pool.allocate(3) == [0, 1, 2]
    pool.release([1])
    assert pool.allocate(1) == [1]
    assert pool.free == 2


def test_too_many_blocks_are_refused_and_nothing_is_given() -> None:
    pool = BlockPool(2)
    with pytest.raises(ValueError, match="3 blocks asked, 2 of 2 free"):
        pool.allocate(3)
    pool.check([])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=40))
def test_blocks_are_conserved(steps: list[tuple[bool, int]]) -> None:
    pool = BlockPool(16)
    held: list[int] = []
    for takes, count in steps:
        if takes and count <= pool.free:
            held += pool.allocate(count)
        elif not takes:
            pool.release(held[:count])
            del held[:count]
        pool.check(held)
        assert pool.free + len(held) == pool.blocks


def test_the_check_finds_a_block_held_twice_or_lost() -> None:
    pool = BlockPool(4)
    taken = pool.allocate(2)
    with pytest.raises(AssertionError):
        pool.check(taken[:1])
    pool.release([taken[0]])
    with pytest.raises(AssertionError):
        pool.check(taken)

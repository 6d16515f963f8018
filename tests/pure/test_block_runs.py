"""Moves of blocks as runs: the same moves, as few as mappings allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aquahost.engines.llm.block_runs import BlockRun, block_runs


def test_neighbours_on_both_sides_are_one_run_within_their_chunks() -> None:
    assert block_runs([(0, 40), (1, 41), (2, 42)], 8) == [BlockRun(0, 40, 3)]
    assert block_runs([(6, 41), (7, 42), (8, 43)], 8) == [BlockRun(6, 41, 2), BlockRun(8, 43, 1)]
    assert block_runs([(1, 46), (2, 47), (3, 48)], 8) == [BlockRun(1, 46, 2), BlockRun(3, 48, 1)]
    assert block_runs([(2, 42), (1, 43)], 8) == [BlockRun(2, 42, 1), BlockRun(1, 43, 1)]
    assert block_runs([], 8) == []


@given(
    chunk_blocks=st.integers(1, 6),
    pairs=st.lists(
        st.tuples(st.integers(0, 30), st.integers(100, 130)), unique_by=(lambda p: p[0], lambda p: p[1]), max_size=25
    ),
)
def test_runs_are_the_same_moves_and_stay_in_their_chunks(chunk_blocks: int, pairs: list[tuple[int, int]]) -> None:
    runs = block_runs(pairs, chunk_blocks)
    moves = [(run.source + i, run.target + i) for run in runs for i in range(run.blocks)]
    assert sorted(moves) == sorted(pairs)
    for run in runs:
        for first in (run.source, run.target):
            assert first // chunk_blocks == (first + run.blocks - 1) // chunk_blocks

"""Blocks that lie side by side where they come from and where they go: one copy for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class BlockRun(NamedTuple):
    """`blocks` blocks from `source` on go to those from `target` on; neither side leaves its chunk, so each lies in one
    mapping."""

    source: int
    target: int
    blocks: int


def block_runs(pairs: Iterable[tuple[int, int]], chunk_blocks: int) -> list[BlockRun]:
    """The same moves (source, target) as few runs as possible, by ascending target."""
    runs: list[BlockRun] = []
    first_source = first_target = count = 0
    for source, target in sorted(pairs, key=_target):
        continues = source == first_source + count and target == first_target + count
        if continues and count and source % chunk_blocks and target % chunk_blocks:
            count += 1
            continue
        if count:
            runs.append(BlockRun(first_source, first_target, count))
        first_source, first_target, count = source, target, 1
    if count:
        runs.append(BlockRun(first_source, first_target, count))
    return runs


def _target(pair: tuple[int, int]) -> int:
    return pair[1]

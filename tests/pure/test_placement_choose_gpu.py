"""Which GPU a model gets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from aquahost.errors import LoadError
from aquahost.placement.choose_gpu import choose_gpu


@dataclass(frozen=True)
class Gpu:
    index: int
    free_bytes: int


NODE = [Gpu(index, 1000) for index in range(4)]


def test_auto_takes_most_free_memory() -> None:
    gpus = [Gpu(0, 10), Gpu(1, 30), Gpu(2, 20)]
    assert choose_gpu("auto", gpus, loading={}, loaded={}) == 1


def test_auto_breaks_ties_by_lowest_index() -> None:
    assert choose_gpu("auto", NODE, loading={}, loaded={}) == 0


def test_models_loading_at_once_get_different_gpus() -> None:
    loading: dict[int, int] = {}
    chosen = []
    for _ in range(5):
        gpu = choose_gpu("auto", NODE, loading=loading, loaded={})
        loading[gpu] = loading.get(gpu, 0) + 1
        chosen.append(gpu)
    assert chosen == [0, 1, 2, 3, 0]


def test_a_loading_gpu_still_wins_when_the_others_are_nearly_full() -> None:
    gpus = [Gpu(0, 1000), Gpu(1, 5)]
    assert choose_gpu("auto", gpus, loading={0: 3}, loaded={}) == 0


def test_models_that_take_no_memory_spread_too() -> None:
    assert choose_gpu("auto", NODE, loading={}, loaded={0: 1, 1: 1}) == 2


def test_a_number_is_taken_as_it_is_even_when_others_are_freer() -> None:
    assert choose_gpu(2, [Gpu(0, 10), Gpu(2, 1)], loading={2: 4}, loaded={}) == 2


def test_a_missing_gpu_is_refused_naming_those_there_are() -> None:
    with pytest.raises(LoadError, match=r"gpu: 9 does not exist; this machine has GPUs 0, 1, 2, 3"):
        choose_gpu(9, NODE, loading={}, loaded={})


def test_no_gpu_at_all() -> None:
    with pytest.raises(LoadError, match="no GPU"):
        choose_gpu("auto", [], loading={}, loaded={})

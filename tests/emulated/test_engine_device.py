"""Weights and arenas on an emulated GPU: accounted for, tied where they were tied, refused where they don't fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aquahost.errors import LoadError
from aquahost.units import MIB
from tiny_llms import emulated_device


class TiedModule(torch.nn.Module):
    """Two layers that share a weight, a buffer, and a parameter that is not contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(64, 64)
        self.second = torch.nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.turned = torch.nn.Parameter(torch.randn(32, 16).T)
        self.register_buffer("steps", torch.arange(5))
        self.register_buffer("nothing", torch.empty(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) + self.turned.sum()


def test_placed_weights_lie_on_the_gpu_and_compute_the_same(tmp_path: Path) -> None:
    module, x = TiedModule(), torch.randn(3, 64)
    expected = module(x)
    with emulated_device(tmp_path) as device:
        before = device.free_bytes()
        placed_bytes = device.place(module)
        assert before - device.free_bytes() >= placed_bytes > 64 * 64 * 4
        assert placed_bytes < 2 * 64 * 64 * 4, "a tied weight was counted twice"
        assert module.first.weight.data_ptr() == module.second.weight.data_ptr()
        assert module.steps.tolist() == [0, 1, 2, 3, 4]
        assert torch.allclose(module(x), expected, atol=1e-5)
        del module


def test_weights_that_are_tied_by_memory_alone_stay_tied(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(32, 32, bias=False), torch.nn.Linear(32, 32, bias=False)
    second.weight.data = first.weight.data
    with emulated_device(tmp_path) as device:
        assert device.place(first, second) == 32 * 32 * 4
        first.weight.data.fill_(2.0)
        assert float(second.weight.data.sum()) == 2.0 * 32 * 32
        del first, second


def test_weights_too_large_for_the_gpu_are_refused_with_both_numbers(tmp_path: Path) -> None:
    module = torch.nn.Linear(2048, 2048)
    with emulated_device(tmp_path, gpu_bytes=8 * MIB) as device:
        with pytest.raises(LoadError, match=r"need 16.0 MiB; GPU 0 has 8.0 MiB free of 8.0 MiB"):
            device.place(module)
        with pytest.raises(LoadError, match=r"the weights of chat need 1.0 GiB"):
            device.require(1 << 30, "the weights of chat")
        device.require(device.free_bytes(), "just enough")


def test_an_arena_is_taken_from_the_gpu_until_it_is_closed(tmp_path: Path) -> None:
    with emulated_device(tmp_path, gpu_bytes=16 * MIB) as device:
        arena = device.arena(5 * MIB)
        assert arena.mapped_bytes == 6 * MIB  # whole chunks of 2 MiB
        assert device.free_bytes() == 10 * MIB
        tensor = device.tensor(arena.address, arena.mapped_bytes)
        assert not tensor.any()
        tensor[-1] = 7
        assert int(device.tensor(arena.address + arena.mapped_bytes - 1, 1)[0]) == 7
        with pytest.raises(LoadError, match=r"the KV arena needs 12.0 MiB"):
            device.arena(12 * MIB)
        assert device.free_bytes() == 10 * MIB, "a refused arena kept memory"
        del tensor
        arena.close()

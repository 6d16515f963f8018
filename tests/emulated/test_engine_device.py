"""Weights and arenas on an emulated GPU: accounted for, tied where they were tied, refused where they don't fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.registry import load_engine
from aquahost.errors import LoadError
from aquahost.units import MIB
from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError
from tiny_llms import emulated_device, make_tiny_llm


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


LAYOUT = KvLayout(layers=1, block_tokens=4, kv_heads=1, head_dim=8, dtype=torch.float32)
"""Blocks of 256 bytes."""


def kv_entry(**changes: object) -> ModelSettings:
    return ModelSettings.model_validate({"kind": "llm", "source": "x", "host_kv_bytes": 0, **changes})


def test_kv_memory_is_taken_from_the_gpu_until_it_is_closed(tmp_path: Path) -> None:
    with emulated_device(tmp_path, gpu_bytes=16 * MIB) as device:
        memory = KvMemory(device, LAYOUT, kv_entry(kv_bytes=5 * MIB))
        assert memory.local_bytes == 6 * MIB  # whole chunks of 2 MiB
        assert memory.local_blocks == 5 * MIB // 256
        assert device.free_bytes() == 10 * MIB
        tensor = device.tensor(memory.arena.address, memory.local_bytes)
        assert not tensor.any()
        tensor[-1] = 7
        assert int(device.tensor(memory.arena.address + memory.local_bytes - 1, 1)[0]) == 7
        with pytest.raises(LoadError, match=r"the KV arena needs 12.0 MiB"):
            KvMemory(device, LAYOUT, kv_entry(kv_bytes=12 * MIB))
        assert device.free_bytes() == 10 * MIB, "refused KV memory kept some"
        del tensor
        memory.close()


@pytest.mark.parametrize("error", [DriverError("cuMemMap", "CUDA_ERROR_OPERATING_SYSTEM"), KeyboardInterrupt()])
def test_kv_memory_that_cannot_be_mapped_leaves_no_addresses_behind(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Arena] = []
    close = Arena.close

    def map_chunks(arena: Arena, chunks: object, location: object) -> None:
        raise error

    monkeypatch.setattr(Arena, "map", map_chunks)
    monkeypatch.setattr(Arena, "close", lambda arena: (closed.append(arena), close(arena)))
    with emulated_device(tmp_path) as device:
        with pytest.raises(type(error)):
            KvMemory(device, LAYOUT, kv_entry(kv_bytes=MIB))
        assert len(closed) == 1


def test_kv_memory_that_cannot_be_viewed_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def view(*arguments: object) -> torch.Tensor:
        raise RuntimeError("no view")

    monkeypatch.setattr(EngineDevice, "tensor", view)
    with (
        emulated_device(tmp_path) as device,
        pytest.raises(RuntimeError, match="no view"),
    ):  # the node checks its memory
        KvMemory(device, LAYOUT, kv_entry(kv_bytes=MIB))


def test_chunks_hold_whole_blocks_and_whole_pages(tmp_path: Path) -> None:
    with emulated_device(tmp_path) as device:
        for unit_bytes in (256, 12288, 3 * MIB, 2 * MIB):
            chunk_bytes = device.chunk_bytes(unit_bytes)
            assert chunk_bytes % unit_bytes == 0
            assert chunk_bytes % (2 * MIB) == 0


def test_weights_that_lie_on_the_gpu_already_need_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Linear(64, 64)
    with emulated_device(tmp_path) as device:
        device.is_emulated = False  # as on a real GPU, here torch's CPU: weights may be loaded straight to it
        monkeypatch.setattr(EngineDevice, "free_bytes", lambda device: 0)
        assert device.place(module) == 64 * 64 * 4 + 64 * 4
        monkeypatch.undo()


def test_a_driver_that_fails_during_a_load_fails_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free_bytes(device: EngineDevice) -> int:
        raise DriverError("cuMemGetInfo", "CUDA_ERROR_DEVICE_UNAVAILABLE")

    folder = make_tiny_llm(tmp_path / "model")
    with emulated_device(tmp_path / "node") as device:
        monkeypatch.setattr(EngineDevice, "free_bytes", free_bytes)
        entry = ModelSettings(kind=Kind.LLM, source=str(folder))
        with pytest.raises(LoadError, match="cuMemGetInfo failed with CUDA_ERROR_DEVICE_UNAVAILABLE"):
            load_engine("chat", entry, SchedulerSettings(), device, lambda progress: None)
        monkeypatch.undo()

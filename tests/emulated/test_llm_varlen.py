"""The paged kernel's inputs, held to what its documentation says, by a plain implementation in its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.gather_attention import GatherAttention
from aquahost.engines.llm.varlen_attention import VarlenAttention
from tiny_llms import emulated_device, load_tiny, make_tiny_llm, run_all, text_prompt, tokens_of

KERNEL = "torch.nn.attention.varlen.varlen_attn"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EngineDevice]:
    with emulated_device(tmp_path / "node") as opened:
        yield opened


def plain_varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cu_seq_q: torch.Tensor, cu_seq_k: None,
    max_q: int, max_k: int, *, scale: float | None, window_size: tuple[int, int], enable_gqa: bool,
    seqused_k: torch.Tensor, block_table: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """`varlen_attn` as documented, one prompt at a time; windows reach (left, right) of the aligned last query."""
    assert {t.dtype for t in (cu_seq_q, seqused_k, block_table)} == {torch.int32}
    assert enable_gqa
    out = torch.empty_like(query)
    for i, used in enumerate(seqused_k.tolist()):
        begin, end = cu_seq_q[i : i + 2].tolist()
        assert end - begin <= max_q
        assert used <= max_k
        keys, values = (pages[block_table[i].long()].flatten(0, 1)[:used].transpose(0, 1) for pages in (key, value))
        at = torch.arange(used - (end - begin), used)[:, None]
        seen = torch.arange(used) <= at + window_size[1]
        if window_size[0] >= 0:
            seen &= torch.arange(used) >= at - window_size[0]
        rows = query[begin:end].transpose(0, 1)
        out[begin:end] = torch.nn.functional.scaled_dot_product_attention(
            rows[None], keys[None], values[None], attn_mask=seen, scale=scale, enable_gqa=True
        )[0].transpose(0, 1)
    return out


def as_on_cuda(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    monkeypatch.setattr(KERNEL, kernel)
    monkeypatch.setattr("aquahost.engines.llm.load.varlen_is_available", lambda *arguments: True)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_greedy_through_the_paged_kernel_is_generates(
    kind: str, tmp_path: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_cuda(monkeypatch, plain_varlen)
    folder = make_tiny_llm(tmp_path / "m", kind)
    engine = load_tiny(folder, device, block_tokens=4, scheduler=SchedulerSettings(step_tokens=24, max_batch=6))
    assert isinstance(engine.runner.attention, VarlenAttention)
    prompts = [torch.randint(6, 384, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (1, 40, 17)]
    for i, ids in enumerate(prompts):
        engine.submit(text_prompt(str(i), ids, max_tokens=20, ignore_eos=True))
    outputs = run_all(engine)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for i, ids in enumerate(prompts):
        expected = model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=20, do_sample=False,
            pad_token_id=0, eos_token_id=None,
        )  # fmt: skip
        assert tokens_of(outputs, str(i)) == expected[0, len(ids) :].tolist(), f"prompt {i}"
    engine.close()


def test_where_the_paged_kernel_refuses_blocks_are_gathered(
    tmp_path: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def refuse(*arguments: Any, **keywords: Any) -> torch.Tensor:
        calls.append(arguments)
        raise RuntimeError("Paged KV cache block size must be divisible by 256")

    as_on_cuda(monkeypatch, refuse)
    engine = load_tiny(make_tiny_llm(tmp_path / "m"), device)
    assert len(calls) == 1
    assert isinstance(engine.runner.attention, GatherAttention)
    engine.submit(text_prompt("a", [5, 6, 7], max_tokens=3, ignore_eos=True))
    assert len(tokens_of(run_all(engine), "a")) == 3
    engine.close()


def test_on_a_cpu_the_paged_kernel_is_not_even_tried(
    tmp_path: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KERNEL, None)
    engine = load_tiny(make_tiny_llm(tmp_path / "m"), device)
    assert isinstance(engine.runner.attention, GatherAttention)
    engine.close()

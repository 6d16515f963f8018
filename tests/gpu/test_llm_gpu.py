"""The language engine on a real GPU: greedy output is that of transformers' own generate, in both attentions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.gather_attention import GatherAttention
from aquahost.engines.llm.varlen_attention import VarlenAttention
from aquahost_cuda.driver import load
from tiny_llms import load_tiny, make_tiny_llm, run_all, text_prompt, tokens_of

pytestmark = pytest.mark.gpu

TOKENS = 24


@pytest.fixture
def device() -> Iterator[EngineDevice]:
    device = EngineDevice(load("cuda"), 0)
    yield device
    device.close()


def run(engine: LlmEngine) -> list[tuple[list[int], list[int]]]:
    """Prompts and what the engine made of them."""
    lengths = (1, 40, 17, 70)
    prompts = [torch.randint(6, 384, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in lengths]
    for i, ids in enumerate(prompts):
        engine.submit(text_prompt(str(i), ids, max_tokens=TOKENS, ignore_eos=True))
    outputs = run_all(engine)
    return [(ids, tokens_of(outputs, str(i))) for i, ids in enumerate(prompts)]


def test_gathered_blocks_give_generates_tokens(device: EngineDevice, tmp_path: Path) -> None:
    folder = make_tiny_llm(tmp_path / "m")
    scheduler = SchedulerSettings(step_tokens=24, max_batch=6)
    engine = load_tiny(folder, device, dtype="float32", scheduler=scheduler)
    assert isinstance(engine.runner.attention, GatherAttention)  # the paged kernel has no float32
    found = run(engine)
    engine.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().cuda()
    for ids, tokens in found:
        expected = model.generate(
            torch.tensor([ids], device="cuda"), attention_mask=torch.ones(1, len(ids), device="cuda"),
            max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, eos_token_id=None,
        )  # fmt: skip
        assert tokens == expected[0, len(ids) :].tolist()


@pytest.mark.parametrize("attention", [GatherAttention, VarlenAttention])
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_in_bfloat16_every_token_is_as_likely_as_generates(
    kind: str, attention: type, device: EngineDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two kernels round differently, so each token is held to the logits that the model itself gives it there."""
    if attention is GatherAttention:
        monkeypatch.setattr("aquahost.engines.llm.load.varlen_is_available", lambda *arguments: False)
    changes = {"hidden_size": 128}  # heads of 32: kernels want multiples of 8, blocks of 256 where that is their page
    folder = make_tiny_llm(tmp_path / "m", kind, **changes)
    engine = load_tiny(folder, device, dtype="bfloat16", block_tokens=256, kv_bytes=32 << 20)
    try:
        if not isinstance(engine.runner.attention, attention):
            pytest.skip("this torch has no paged kernel for this GPU")
        found = run(engine)
    finally:
        engine.close()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().cuda()
    for ids, tokens in found:
        assert len(tokens) == TOKENS
        with torch.inference_mode():
            logits = model(torch.tensor([ids + tokens], device="cuda")).logits[0, len(ids) - 1 : -1].float()
        chosen = logits.gather(1, torch.tensor(tokens, device="cuda")[:, None])[:, 0]
        spread = logits.max(-1).values - logits.min(-1).values
        assert ((logits.max(-1).values - chosen) / spread).max() < 0.05


def test_the_devices_memory_is_given_back(device: EngineDevice, tmp_path: Path) -> None:
    folder = make_tiny_llm(tmp_path / "m")
    load_tiny(folder, device).close()
    before = device.free_bytes()
    load_tiny(folder, device, kv_bytes=1 << 30).close()
    assert before - device.free_bytes() < 1 << 29

"""Loading a language model: progress, limits, and every reason to refuse."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    DeepseekV3Config,
    Gemma2Config,
    GptOssConfig,
    MambaConfig,
    PretrainedConfig,
    Qwen2Config,
    T5Config,
)

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.checkpoint import read_checkpoint
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.gather_attention import GatherStep
from aquahost.engines.llm.load import load_llm
from aquahost.engines.llm.paged_attention import AttentionCall
from aquahost.engines.source import resolve_source
from aquahost.errors import InvalidRequestError, LoadError
from aquahost.messages.prompts import Prompt, TextRequest
from aquahost.messages.wire import LoadProgress
from tiny_llms import (
    byte_level_tokenizer,
    emulated_device,
    load_tiny,
    make_tiny_llm,
    run_all,
    settings_for,
    text_prompt,
    tiny_config,
    tokens_of,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EngineDevice]:
    with emulated_device(tmp_path / "node") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tiny_llm(tmp_path / "model")


def folder_of_config(path: Path, config: PretrainedConfig) -> Path:
    """A folder with a config and some safetensors file, for what is refused by its config."""
    config.save_pretrained(path)
    save_file({"weight": torch.zeros(4)}, path / "model.safetensors")
    byte_level_tokenizer().save_pretrained(path)
    return path


def refusal(device: EngineDevice, folder: Path, **changes: Any) -> str:
    with pytest.raises(LoadError) as raised:
        load_tiny(folder, device, **changes)
    return str(raised.value)


def generated(folder: Path, ids: list[int], tokens: int) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=tokens, min_new_tokens=tokens,
        do_sample=False, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    result: list[int] = out[0, len(ids) :].tolist()
    return result


def test_progress_is_told_in_bytes_and_reaches_the_end(folder: Path, device: EngineDevice) -> None:
    told: list[LoadProgress] = []
    engine = load_llm("tiny", settings_for(folder, kv_bytes=1 << 20), SchedulerSettings(), device, told.append)
    weights = [p for p in told if p.stage == "loading weights"]
    assert len(weights) > 10
    assert [p.done for p in weights] == sorted(p.done for p in weights)
    total_bytes = read_checkpoint(folder).stored_bytes
    assert {p.total for p in weights} == {total_bytes}
    assert weights[-1].done == total_bytes
    assert told[-1].stage == "probing"
    engine.close()


def test_the_footprint_tells_weights_kv_and_context(folder: Path, device: EngineDevice) -> None:
    engine = load_tiny(folder, device, kv_bytes=None)
    footprint = engine.footprint
    stored_bytes = read_checkpoint(folder).loaded_bytes(4)
    assert stored_bytes <= footprint.weights_bytes < stored_bytes + (1 << 16)
    assert footprint.kv_bytes == pytest.approx(0.8 * (device.total_bytes - footprint.weights_bytes), rel=0.02)
    assert footprint.max_context == 512
    assert footprint.detail == "LlamaForCausalLM float32"
    engine.close()


def test_a_checkpoint_in_several_files_and_in_bfloat16_loads(tmp_path: Path, device: EngineDevice) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_config("llama"), dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "m", max_shard_size="100KB")
    byte_level_tokenizer().save_pretrained(tmp_path / "m")
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 1
    engine = load_tiny(tmp_path / "m", device)
    assert engine.footprint.detail.endswith("float32"), "bfloat16 is slower on a CPU"
    engine.close()
    engine = load_tiny(tmp_path / "m", device, dtype="bfloat16")
    assert engine.footprint.detail.endswith("bfloat16")
    engine.submit(text_prompt("a", [5, 6, 7], max_tokens=4, ignore_eos=True))
    assert len(tokens_of(run_all(engine), "a")) == 4
    engine.close()


def test_layers_of_both_kinds_of_attention_are_served(tmp_path: Path, device: EngineDevice) -> None:
    from transformers import AutoModelForCausalLM

    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    changes = {"use_sliding_window": True, "sliding_window": 8, "layer_types": kinds}
    config = Qwen2Config(**{**tiny_config("qwen3").to_dict(), "model_type": "qwen2", **changes})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.15)
    model.save_pretrained(tmp_path / "m")
    byte_level_tokenizer().save_pretrained(tmp_path / "m")
    engine = load_tiny(tmp_path / "m", device, block_tokens=4, scheduler=SchedulerSettings(step_tokens=16))
    ids = torch.randint(6, 384, (30,)).tolist()
    engine.submit(text_prompt("a", ids, max_tokens=30, ignore_eos=True))
    expected = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, 30), max_new_tokens=30, min_new_tokens=30,
        do_sample=False, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    assert tokens_of(run_all(engine), "a") == expected[0, 30:].tolist()
    engine.close()


def test_a_window_that_attention_is_not_told_of_bounds_the_context(tmp_path: Path, device: EngineDevice) -> None:
    """PhiMoE keeps to its window by its mask alone, and no mask is built for our attention."""
    folder = make_tiny_llm(tmp_path / "m", "phimoe")
    assert "set max_context to 80 to serve it without a window" in refusal(device, folder)
    assert "set max_context to 80" in refusal(device, folder, max_context=81)
    ids = torch.randint(6, 384, (50,), generator=torch.Generator().manual_seed(3)).tolist()
    for block_tokens in (16, 64):  # blocks that reach beyond the context must not be probed
        engine = load_tiny(folder, device, max_context=80, block_tokens=block_tokens)
        engine.submit(text_prompt("a", ids, max_tokens=30, ignore_eos=True))
        assert tokens_of(run_all(engine), "a") == generated(folder, ids, 30)
        engine.close()
    config = json.loads((folder / "config.json").read_text())
    for without in ({"sliding_window": None}, {"sliding_window": 400, "use_sliding_window": False}):
        (folder / "config.json").write_text(json.dumps(config | without))
        engine = load_tiny(folder, device)
        assert engine.footprint.max_context == 512
        engine.close()


def test_the_probe_runs_past_a_window_of_the_config(
    tmp_path: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the config alone would let it pass."""
    monkeypatch.setattr("aquahost.engines.llm.load.check_window", lambda *arguments: None)
    assert "differ from its own" in refusal(device, make_tiny_llm(tmp_path / "m", "phimoe"))


def test_a_probe_that_fails_says_why(folder: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(step: GatherStep, call: AttentionCall) -> torch.Tensor:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(GatherStep, "attend", fail)
    assert "its forward fails with ours: no kernel image" in refusal(device, folder)


def test_texts_whose_tokens_the_model_has_no_embedding_for_are_refused(tmp_path: Path, device: EngineDevice) -> None:
    folder = make_tiny_llm(tmp_path / "m", vocab_size=300)  # the tokenizer has 384
    engine = load_tiny(folder, device)
    text = "the quick brown fox jumps over the lazy dog"
    requests = [TextRequest(text=text), TextRequest(messages=[{"role": "user", "content": text}]),
                TextRequest(token_ids=[5, 300])]  # fmt: skip
    for request in requests:
        with pytest.raises(InvalidRequestError, match="outside the vocabulary of 300 tokens") as raised:
            engine.submit(Prompt(id="a", model="tiny", tenant="t", request=request, created_s=0))
        assert raised.value.param == ("messages" if request.messages else "prompt")
    assert not engine.has_work()
    engine.close()


def test_files_that_are_not_loaded_neither_count_nor_fail_the_load(folder: Path, device: EngineDevice) -> None:
    (folder / "consolidated.safetensors").write_bytes(b"damaged")
    save_file({"w": torch.zeros(1 << 20)}, folder / "model.fp16.safetensors")
    told: list[LoadProgress] = []
    load_llm("tiny", settings_for(folder, kv_bytes=1 << 20), SchedulerSettings(), device, told.append).close()
    (total_bytes,) = {p.total for p in told if p.stage == "loading weights"}
    assert total_bytes < 4 << 20


def test_a_model_whose_weights_are_all_of_a_variant_loads(folder: Path, device: EngineDevice) -> None:
    (folder / "model.safetensors").rename(folder / "model.fp16.safetensors")
    load_tiny(folder, device).close()


def test_loading_keeps_transformers_quiet(folder: Path, device: EngineDevice) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    try:
        load_tiny(folder, device).close()
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity(before[0])
        if before[1]:
            logging.enable_progress_bar()


def test_a_model_without_a_template_says_use_completions(tmp_path: Path, device: EngineDevice) -> None:
    folder = make_tiny_llm(tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    engine = load_tiny(folder, device)
    request = TextRequest(messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(InvalidRequestError, match="no chat template; use completions") as raised:
        engine.submit(Prompt(id="a", model="tiny", tenant="t", request=request, created_s=0))
    assert raised.value.param == "messages"
    engine.close()


@pytest.mark.parametrize(("config", "reason"), [
    (T5Config(num_layers=1), "encoder-decoder"),
    (MambaConfig(num_hidden_layers=1), "layers of type linear_attention"),
    (BloomConfig(n_layer=1), "AttentionInterface"),
    (Gemma2Config(num_hidden_layers=1, attn_logit_softcapping=30.0), "caps attention scores"),
])  # fmt: skip
def test_what_cannot_be_served_is_refused_by_its_config(
    config: PretrainedConfig, reason: str, tmp_path: Path, device: EngineDevice
) -> None:
    assert reason in refusal(device, folder_of_config(tmp_path / "m", config))


def test_quantised_and_multi_modal_models_are_refused(tmp_path: Path, device: EngineDevice) -> None:
    folder = make_tiny_llm(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}))
    assert "quantised" in refusal(device, folder)
    llava = AutoConfig.for_model("llava")
    assert "multi-modal" in refusal(device, folder_of_config(tmp_path / "llava", llava))


def test_what_only_its_forward_shows_is_refused(tmp_path: Path, device: EngineDevice) -> None:
    """Sinks, and keys and values of different sizes."""
    from transformers import AutoModelForCausalLM

    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
             "vocab_size": 384, "intermediate_size": 32, "max_position_embeddings": 64}  # fmt: skip
    sinks = GptOssConfig(**small, head_dim=16, num_local_experts=2, num_experts_per_tok=1, rope_parameters=None)
    latent = DeepseekV3Config(**small, kv_lora_rank=8, q_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8,
                              v_head_dim=12, first_k_dense_replace=1)  # fmt: skip
    for name, config, reason in [("sinks", sinks, "attention sinks"), ("latent", latent, "values 12")]:
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / name)
        byte_level_tokenizer().save_pretrained(tmp_path / name)
        assert reason in refusal(device, tmp_path / name)


def test_attention_that_is_not_causal_is_refused(tmp_path: Path, device: EngineDevice) -> None:
    """A BERT's head is a causal class to transformers, but without is_decoder every token sees all others."""
    config = BertConfig(
        vocab_size=384, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128,
    )  # fmt: skip
    BertLMHeadModel(config).save_pretrained(tmp_path / "m")
    byte_level_tokenizer().save_pretrained(tmp_path / "m")
    assert "its attention is not causal" in refusal(device, tmp_path / "m")


@pytest.mark.parametrize("change", ["window", "scale", "positions"])
def test_attention_that_computes_something_else_is_found_out_by_the_probe(
    change: str, folder: Path, device: EngineDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend = GatherStep.attend

    def other(step: GatherStep, call: AttentionCall) -> torch.Tensor:
        if change == "window" and call.layer == 1:
            call.window = 10
        elif change == "scale":
            call.scale = (call.scale or 1) * 1.02
        elif change == "positions" and len(step._batch.decode_slots):
            call.query = call.query.roll(1, dims=2)
        return attend(step, call)

    monkeypatch.setattr(GatherStep, "attend", other)
    assert "differ from its own" in refusal(device, folder)


def test_folders_that_are_no_model_are_refused(tmp_path: Path, device: EngineDevice) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "is no model" in refusal(device, empty)
    assert "there is no folder" in refusal(device, tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "is a file" in refusal(device, tmp_path / "file")
    (empty / "config.json").write_text("{not json")
    assert "config.json can't be used" in refusal(device, empty)


def test_weights_that_are_missing_or_pickled_are_refused(folder: Path, device: EngineDevice) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    assert "has no safetensors weights" in refusal(device, folder)
    (folder / "pytorch_model.bin").write_bytes(b"x")
    assert "only as pytorch_model.bin, a pickle" in refusal(device, folder)
    weights.write_bytes(content)
    tensors = {"model.embed_tokens.weight": torch.zeros(384, 64)}
    save_file(tensors, weights)
    assert "lacks" in refusal(device, folder)
    save_file({"model.embed_tokens.weight": torch.zeros(300, 64)}, weights)
    assert "can't be loaded" in refusal(device, folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "grown"])
def test_a_corrupt_safetensors_file_is_named(damage: str, folder: Path, device: EngineDevice) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "empty": b"",
        "header": struct.pack("<Q", 1 << 60) + content[8:],
        "grown": content + b"\0" * 9,
    }[damage]
    weights.write_bytes(damaged)
    reason = refusal(device, folder)
    assert str(weights) in reason
    assert "fetch or copy it again" in reason


def test_a_model_larger_than_the_gpu_is_refused_before_it_is_read(tmp_path: Path, folder: Path) -> None:
    with emulated_device(tmp_path / "small", gpu_bytes=2 << 20) as device:
        big = make_tiny_llm(tmp_path / "big", hidden_size=256, intermediate_size=1024)
        told: list[LoadProgress] = []
        with pytest.raises(LoadError, match=r"the weights of tiny need .* GPU 0 has 2.0 MiB free"):
            load_llm("tiny", settings_for(big), SchedulerSettings(), device, told.append)
        assert not [p for p in told if p.stage == "loading weights"]


def test_damaged_numbers_are_refused(folder: Path, device: EngineDevice) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "not finite" in refusal(device, folder)


def test_limits_that_contradict_the_model_or_the_memory_are_refused(folder: Path, device: EngineDevice) -> None:
    assert "max_context is 1024; the model was made for 512" in refusal(device, folder, max_context=1024)
    assert "hold no block" in refusal(device, folder, kv_bytes=1000)
    assert "hold 5 tokens" in refusal(device, folder, kv_bytes=4000, block_tokens=4)
    assert "the KV arena needs" in refusal(device, folder, kv_bytes=1 << 30)


def test_a_refused_model_leaves_nothing_on_the_gpu_once_the_device_closes(folder: Path, tmp_path: Path) -> None:
    with emulated_device(tmp_path / "other") as device:  # checks it at its end
        refusal(device, folder, max_context=1024)


def test_positions_that_depend_on_the_longest_prompt_are_refused(tmp_path: Path, device: EngineDevice) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    folder = make_tiny_llm(tmp_path / "m", rope_parameters=rope, max_position_embeddings=64)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["original_max_position_embeddings"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    assert "set max_context to 32 or less" in refusal(device, folder)


def test_sources_that_are_neither_folder_nor_hub_id_are_refused() -> None:
    with pytest.raises(LoadError, match="there is no folder"):
        resolve_source(settings_for(Path("/no/such/folder")))
    with pytest.raises(LoadError, match="neither a folder nor a hub id"):
        resolve_source(settings_for(Path("not a name!")))


def test_a_hub_id_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    def offline(*args: object, **keywords: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(LoadError, match="org/name is not in the local cache and the hub can't be reached"):
        resolve_source(settings_for(Path("org/name")))

"""Tiny random language models in folders, with a byte-level BPE tokenizer and a chat template, made in seconds."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhimoeConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.load import load_llm
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.prompts import Finished, Output, Prompt, Sampling, TextRequest, Tokens
from aquahost_cuda.driver import EmulatedNode, load

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + message.role) }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CORPUS = (
    "the quick brown fox jumps over the lazy dog and the dog sleeps on",
    "a model that is busy borrows memory from neighbours that are idle",
    "Grüße aus Köln, façade, naïve, 你好世界, привет мир, 🎉🚀",
    "one two three four five six seven eight nine ten",
)
VOCABULARY = 384
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
}


@functools.cache
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer, trained on a few lines: 256 bytes, some merges, five special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", additional_special_tokens=special[2:]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_config(kind: str, **changes: Any) -> Any:
    """Config of a tiny "llama", "qwen3", "mistral" (window of 12 tokens), "phimoe" (80 tokens) or "gpt2"."""
    match kind:
        case "llama":
            return LlamaConfig(**{**SMALL, **changes})
        case "qwen3":
            return Qwen3Config(**{**SMALL, "head_dim": 24, **changes})
        case "mistral":
            return MistralConfig(**{**SMALL, "sliding_window": 12, **changes})
        case "phimoe":
            experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "pad_token_id": 1}
            return PhimoeConfig(**{**SMALL, **experts, "sliding_window": 80, **changes})
        case "gpt2":
            small = {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 512}
            return GPT2Config(**{**small, "bos_token_id": 0, "eos_token_id": 1, **changes})
    raise ValueError(f"no tiny {kind!r}")


def make_tiny_llm(folder: Path, kind: str = "llama", *, seed: int = 0, **changes: Any) -> Path:
    """Write a random model of `tiny_config(kind, **changes)` with its tokenizer to `folder`; returns `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(tiny_config(kind, **changes))
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(std=0.15)  # larger than the default: logits that differ, text that varies
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


def settings_for(folder: Path, **changes: Any) -> ModelSettings:
    """A model entry for a folder."""
    return ModelSettings(kind=Kind.LLM, source=str(folder), **changes)


@contextlib.contextmanager
def emulated_device(
    path: Path, *, gpu_bytes: int = 256 << 20, gpus: int = 1, desk: MemoryDesk | None = None, **node: Any
) -> Iterator[EngineDevice]:
    """GPU 0 of a fresh emulated node; at the end all its memory must be free again."""
    path.mkdir(parents=True, exist_ok=True)
    driver = load("emulated", EmulatedNode(path=str(path), gpus=gpus, gpu_bytes=gpu_bytes, **node))
    device = EngineDevice(driver, 0, desk)
    before = device.free_bytes()
    try:
        yield device
    except BaseException:
        device.close()
        raise
    device.weights.close()
    assert device.free_bytes() == before, "the engine left memory behind"
    device.close()


def load_tiny(
    folder: Path, device: EngineDevice, *, scheduler: SchedulerSettings | None = None, **changes: Any
) -> LlmEngine:
    """The engine of a tiny model's folder; 1 MiB of KV memory, all of it local, unless told otherwise."""
    settings = settings_for(folder, **{"kv_bytes": 1 << 20, "host_kv_bytes": 0, **changes})
    return load_llm("tiny", settings, scheduler or SchedulerSettings(), device, lambda progress: None)


def text_prompt(prompt_id: str, token_ids: list[int], **sampling: Any) -> Prompt:
    """A greedy prompt of token ids."""
    request = TextRequest(token_ids=token_ids, sampling=Sampling(**{"temperature": 0.0, **sampling}))
    return Prompt(id=prompt_id, model="tiny", tenant="test", request=request, created_s=0.0)


def run_all(engine: LlmEngine, *, most_steps: int = 2000) -> list[Output]:
    """Step until nothing is live, checking conservation after every step; returns all outputs."""
    outputs: list[Output] = []
    for _ in range(most_steps):
        if not engine.has_work():
            return outputs
        engine.tend()
        outputs += engine.step()
        engine.check()
        time.sleep(engine.wait_s())
    raise AssertionError(f"still live after {most_steps} steps")


def tokens_of(outputs: list[Output], prompt_id: str) -> list[int]:
    """All tokens produced for a prompt."""
    return [i for o in outputs if isinstance(o, Tokens) and o.prompt_id == prompt_id for i in o.token_ids]


def text_of(outputs: list[Output], prompt_id: str) -> str:
    """All text produced for a prompt."""
    return "".join(o.text for o in outputs if isinstance(o, Tokens) and o.prompt_id == prompt_id)


def finished_of(outputs: list[Output], prompt_id: str) -> Finished:
    """The prompt's one last output, without the device time, which is another at every run."""
    (last,) = [o for o in outputs if isinstance(o, Finished) and o.prompt_id == prompt_id]
    return msgspec.structs.replace(last, service_s=0.0)

"""The language engine against transformers' own generate, token for token, and its behaviour around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from aquahost.config.settings import SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.engine import LlmEngine
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import (
    FinishReason,
    ImageRequest,
    Prompt,
    PromptState,
    Sampling,
    StateChanged,
    TextRequest,
    Tokens,
)
from tiny_llms import (
    emulated_device,
    finished_of,
    load_tiny,
    make_tiny_llm,
    run_all,
    text_of,
    text_prompt,
    tokens_of,
)

KINDS = ["llama", "qwen3", "mistral", "gpt2"]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            changes: dict[str, Any] = {"tie_word_embeddings": True} if kind == "qwen3" else {}
            made[kind] = make_tiny_llm(tmp_path_factory.mktemp(kind), kind, **changes)
        return made[kind]

    return make


@pytest.fixture
def device(tmp_path: Path) -> Iterator[EngineDevice]:
    with emulated_device(tmp_path / "node") as opened:
        yield opened


@pytest.fixture
def load(device: EngineDevice, tiny_llm: Callable[[str], Path]) -> Iterator[Callable[..., LlmEngine]]:
    """Loads a tiny model by kind; in the end no engine may have lost a block, and all memory is free."""
    engines: list[LlmEngine] = []

    def load_kind(kind: str = "llama", **changes: Any) -> LlmEngine:
        engines.append(load_tiny(tiny_llm(kind), device, **changes))
        return engines[-1]

    yield load_kind
    for engine in engines:
        engine.check()
        engine.close()


@pytest.fixture
def engine(load: Callable[..., LlmEngine]) -> LlmEngine:
    return load()


def prompts_of(lengths: list[int], seed: int = 3) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(6, 384, (n,), generator=generator).tolist() for n in lengths]


def generated(folder: Path, ids: list[int], tokens: int, **sampling: Any) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
        **sampling,
    )
    result: list[int] = out[0, len(ids) :].tolist()
    return result


@pytest.mark.parametrize("block_tokens", [4, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_output_is_generates_token_for_token(
    kind: str, block_tokens: int, load: Callable[..., LlmEngine], tiny_llm: Callable[[str], Path]
) -> None:
    folder = tiny_llm(kind)
    scheduler = SchedulerSettings(step_tokens=24, max_batch=6)  # prompts of more than 24 tokens come in chunks
    engine = load(kind, scheduler=scheduler, block_tokens=block_tokens)
    prompts = prompts_of([1, 3, 70, 17, 33, 16, 5, 12])
    for i, ids in enumerate(prompts):
        engine.submit(text_prompt(str(i), ids, max_tokens=20 + i))
    outputs = run_all(engine)
    for i, ids in enumerate(prompts):
        assert tokens_of(outputs, str(i)) == generated(folder, ids, 20 + i), f"prompt {i}"
    assert engine.stats().kv_blocks_free == engine.stats().kv_blocks


@pytest.mark.parametrize("kind", KINDS)
def test_preempted_prompts_say_the_same(
    kind: str, load: Callable[..., LlmEngine], tiny_llm: Callable[[str], Path]
) -> None:
    folder = tiny_llm(kind)
    values = 32 if kind in ("llama", "mistral") else 48  # of one token's K in one layer
    engine = load(kind, kv_bytes=53 * (3 * 2 * 4 * values * 4), block_tokens=4, max_context=128)
    prompts = prompts_of([9, 21, 14, 30])
    for i, ids in enumerate(prompts):
        engine.submit(text_prompt(str(i), ids, max_tokens=90, logit_bias={1: -1000.0}))
    outputs = run_all(engine)
    suspended = [o.prompt_id for o in outputs if isinstance(o, StateChanged) and o.state is PromptState.SUSPENDED]
    assert suspended, "the KV memory was meant to be too small"
    for i, ids in enumerate(prompts):
        assert tokens_of(outputs, str(i)) == generated(folder, ids, 90, min_new_tokens=90), f"prompt {i}"


def test_a_prompt_tells_its_states_in_order_and_ends_once(engine: LlmEngine) -> None:
    accepted = engine.submit(text_prompt("a", [10, 11, 12], max_tokens=3, ignore_eos=True))
    assert accepted.input_tokens == 3
    outputs = run_all(engine)
    kinds = [o.state if isinstance(o, StateChanged) else type(o).__name__ for o in outputs]
    assert kinds == [PromptState.PREFILLING, PromptState.RUNNING, "Tokens", "Tokens", "Tokens", "Finished"]
    last = finished_of(outputs, "a")
    assert (last.reason, last.input_tokens, last.output_tokens) == (FinishReason.LENGTH, 3, 3)


def test_the_end_token_ends_the_reply_and_has_no_text(engine: LlmEngine) -> None:
    engine.submit(text_prompt("a", [10, 11], max_tokens=9, logit_bias={1: 1000.0}))
    engine.submit(text_prompt("b", [10, 11], max_tokens=4, logit_bias={1: 1000.0}, ignore_eos=True))
    outputs = run_all(engine)
    assert tokens_of(outputs, "a") == [1]
    assert text_of(outputs, "a") == ""
    assert finished_of(outputs, "a").reason is FinishReason.STOP
    assert tokens_of(outputs, "b") == [1] * 4
    assert finished_of(outputs, "b").reason is FinishReason.LENGTH


def test_a_reply_ends_at_the_contexts_end(load: Callable[..., LlmEngine]) -> None:
    engine = load(max_context=24)
    engine.submit(text_prompt("a", prompts_of([20])[0], ignore_eos=True))
    outputs = run_all(engine)
    assert len(tokens_of(outputs, "a")) == 4
    assert finished_of(outputs, "a").reason is FinishReason.LENGTH


def test_cancelling_frees_the_blocks_at_once(engine: LlmEngine) -> None:
    for name in "abc":
        engine.submit(text_prompt(name, prompts_of([30])[0], max_tokens=50, ignore_eos=True))
    engine.step()
    engine.step()
    held = engine.stats()
    assert held.kv_blocks_free < held.kv_blocks
    engine.cancel("b")
    engine.check()
    engine.cancel("a")
    engine.cancel("a")
    engine.cancel("nobody")
    engine.cancel("c")
    engine.check()
    assert engine.stats().kv_blocks_free == engine.stats().kv_blocks
    assert not engine.has_work()
    assert engine.step() == []


def test_cancelling_a_waiting_prompt_leaves_the_others_alone(load: Callable[..., LlmEngine]) -> None:
    engine = load(scheduler=SchedulerSettings(max_batch=1))
    (ids,) = prompts_of([8])
    for name in "ab":
        engine.submit(text_prompt(name, ids, max_tokens=5, ignore_eos=True))
    engine.step()
    engine.cancel("b")
    outputs = run_all(engine)
    assert tokens_of(outputs, "b") == []
    assert finished_of(outputs, "a").output_tokens == 5


def test_a_stop_string_is_cut_even_across_tokens(engine: LlmEngine) -> None:
    (ids,) = prompts_of([12])
    engine.submit(text_prompt("free", ids, max_tokens=40, ignore_eos=True))
    whole = text_of(run_all(engine), "free")
    stop = whole[10:14]
    engine.submit(text_prompt("a", ids, max_tokens=40, ignore_eos=True, stop=("never said", stop)))
    outputs = run_all(engine)
    assert text_of(outputs, "a") == whole[: whole.index(stop)]
    assert finished_of(outputs, "a").reason is FinishReason.STOP
    assert finished_of(outputs, "a").output_tokens < 40


def test_text_held_back_for_a_stop_string_comes_at_the_end(engine: LlmEngine) -> None:
    (ids,) = prompts_of([12])
    engine.submit(text_prompt("free", ids, max_tokens=10, ignore_eos=True))
    whole = text_of(run_all(engine), "free")
    engine.submit(text_prompt("a", ids, max_tokens=10, ignore_eos=True, stop=(whole[-1] + "\x00never",)))
    assert text_of(run_all(engine), "a") == whole


def test_echo_puts_the_prompts_text_first(engine: LlmEngine) -> None:
    request = TextRequest(text="the quick", echo=True, sampling=Sampling(temperature=0, max_tokens=4))
    engine.submit(Prompt(id="a", model="tiny", tenant="t", request=request, created_s=0))
    outputs = run_all(engine)
    first = next(o for o in outputs if isinstance(o, Tokens))
    assert (first.text, first.token_ids) == ("the quick", [])
    assert len(tokens_of(outputs, "a")) <= 4


def test_messages_go_through_the_chat_template(engine: LlmEngine) -> None:
    messages = [{"role": "user", "content": "hello"}]
    request = TextRequest(messages=messages, sampling=Sampling(max_tokens=1))
    accepted = engine.submit(Prompt(id="a", model="tiny", tenant="t", request=request, created_s=0))
    assert accepted.input_tokens > 3
    run_all(engine)


def test_logprobs_are_the_models_own_and_best_first(engine: LlmEngine, tiny_llm: Callable[[str], Path]) -> None:
    (ids,) = prompts_of([7])
    engine.submit(text_prompt("a", ids, max_tokens=3, logprobs=5, ignore_eos=True, temperature=0.7, seed=1))
    outputs = run_all(engine)
    choices = [c for o in outputs if isinstance(o, Tokens) for c in o.logprobs or []]
    assert len(choices) == 3
    model = AutoModelForCausalLM.from_pretrained(tiny_llm("llama"), dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)
    assert choices[0].chosen.logprob == pytest.approx(float(expected[choices[0].chosen.token_id]), abs=1e-3)
    assert [t.token_id for t in choices[0].top] == expected.topk(5).indices.tolist()


def test_a_seed_gives_the_same_reply_in_any_company(engine: LlmEngine) -> None:
    (ids, other) = prompts_of([11, 40])
    rules = {"temperature": 1.2, "top_p": 0.9, "max_tokens": 12, "seed": 7, "ignore_eos": True}
    engine.submit(text_prompt("alone", ids, **rules))
    alone = tokens_of(run_all(engine), "alone")
    for i in range(4):
        engine.submit(text_prompt(f"other{i}", other, temperature=1.0, max_tokens=9 + i, ignore_eos=True))
    engine.submit(text_prompt("again", ids, **rules))
    assert tokens_of(run_all(engine), "again") == alone
    engine.submit(text_prompt("else", ids, **{**rules, "seed": 8}))
    assert tokens_of(run_all(engine), "else") != alone


def test_repetition_penalty_is_generates(engine: LlmEngine, tiny_llm: Callable[[str], Path]) -> None:
    (ids,) = prompts_of([10])
    engine.submit(text_prompt("a", ids, max_tokens=25, repetition_penalty=1.4))
    expected = generated(tiny_llm("llama"), ids, 25, repetition_penalty=1.4)
    assert tokens_of(run_all(engine), "a") == expected


REFUSED = [
    (TextRequest(token_ids=[1] * 600), "prompt", "context_length_exceeded"),
    (TextRequest(text="word " * 100_000), "prompt", "context_length_exceeded"),
    (TextRequest(token_ids=[]), "prompt", None),
    (TextRequest(token_ids=[5, 384]), "prompt", None),
    (TextRequest(token_ids=[-1]), "prompt", None),
    (TextRequest(text="a", token_ids=[1]), "prompt", None),
    (TextRequest(), "prompt", None),
    (TextRequest(messages=[]), "messages", None),
    (TextRequest(messages=[{"role": "wizard", "content": "x"}]), "messages", None),
    (TextRequest(messages=[{"nothing": "x"}]), "messages", None),
    (ImageRequest(text="a cat"), "model", None),
    (TextRequest(text="a", sampling=Sampling(temperature=float("nan"))), "temperature", None),
    (TextRequest(text="a", sampling=Sampling(temperature=-1)), "temperature", None),
    (TextRequest(text="a", sampling=Sampling(top_p=1.5)), "top_p", None),
    (TextRequest(text="a", sampling=Sampling(top_k=-1)), "top_k", None),
    (TextRequest(text="a", sampling=Sampling(max_tokens=0)), "max_tokens", None),
    (TextRequest(text="a", sampling=Sampling(repetition_penalty=0)), "repetition_penalty", None),
    (TextRequest(text="a", sampling=Sampling(presence_penalty=float("inf"))), "presence_penalty", None),
    (TextRequest(text="a", sampling=Sampling(logit_bias={999: 1.0})), "logit_bias", None),
    (TextRequest(text="a", sampling=Sampling(logit_bias={9: float("nan")})), "logit_bias", None),
    (TextRequest(text="a", sampling=Sampling(logprobs=1000)), "logprobs", None),
]


def test_bad_requests_are_refused_by_field(engine: LlmEngine) -> None:
    for request, param, code in REFUSED:
        with pytest.raises(InvalidRequestError) as raised:
            engine.submit(Prompt(id="bad", model="tiny", tenant="t", request=request, created_s=0))
        assert (raised.value.param, raised.value.code) == (param, code), request
        assert raised.value.status == 400
    assert not engine.has_work()


def test_a_prompt_beyond_the_kv_memory_is_refused_with_the_numbers(load: Callable[..., LlmEngine]) -> None:
    engine = load(kv_bytes=10 * 12288)  # 10 blocks of 16 tokens
    assert engine.footprint.max_context == 161
    with pytest.raises(InvalidRequestError, match=r"161 tokens \(that is what 120.0 KiB of KV memory hold\)"):
        engine.submit(text_prompt("a", [5] * 161))
    engine.submit(text_prompt("b", [5] * 160, ignore_eos=True))
    assert len(tokens_of(run_all(engine), "b")) == 1


def test_a_text_of_many_long_special_tokens_is_taken(engine: LlmEngine) -> None:
    text = "<|assistant|>" * 500  # 6,500 characters, 500 tokens
    request = TextRequest(text=text, sampling=Sampling(max_tokens=1))
    assert engine.submit(Prompt(id="a", model="tiny", tenant="t", request=request, created_s=0)).input_tokens == 500
    engine.cancel("a")


def test_the_same_id_twice_is_refused(engine: LlmEngine) -> None:
    engine.submit(text_prompt("a", [5]))
    with pytest.raises(InvalidRequestError, match="live already"):
        engine.submit(text_prompt("a", [5]))
    engine.cancel("a")


def test_logits_that_are_no_numbers_end_the_prompt_alone(engine: LlmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = engine.runner.forward

    def broken(batch: Any) -> torch.Tensor:
        logits = forward(batch)
        logits[0, 5] = float("nan")  # the shortest prompt is the first row
        return logits

    engine.submit(text_prompt("bad", [5, 6], max_tokens=4, ignore_eos=True))
    engine.submit(text_prompt("good", [5, 6, 7], max_tokens=4, ignore_eos=True))
    outputs = engine.step()
    monkeypatch.setattr(engine.runner, "forward", broken)
    outputs += engine.step()
    monkeypatch.undo()
    outputs += run_all(engine)
    bad = finished_of(outputs, "bad")
    assert bad.reason is FinishReason.ERROR
    assert bad.error is not None
    assert "not a number" in bad.error.message
    assert finished_of(outputs, "good").output_tokens == 4


def test_closing_ends_everyone_and_gives_the_memory_back(device: EngineDevice, load: Callable[..., LlmEngine]) -> None:
    before = device.free_bytes()
    engine = load()
    engine.submit(text_prompt("a", [5, 6], max_tokens=50))
    engine.step()
    engine.close()
    engine.close()
    assert not engine.has_work()
    assert before - device.free_bytes() == pytest.approx(engine.footprint.weights_bytes, abs=2 << 20)

"""A reply that one worker began and another one ends is the reply that one of them would have given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aquahost.engines.llm.engine import LlmEngine
from aquahost.messages.prompts import Output, Tokens
from tiny_llms import emulated_device, finished_of, load_tiny, make_tiny_llm, run_all, text_of, text_prompt, tokens_of

IDS = [17, 230, 41, 99, 101, 7, 350]
RULES: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 1.1, "seed": 5, "top_p": 0.9},
    {"temperature": 0.9, "seed": 6, "repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2},
    {"temperature": 0.0, "frequency_penalty": 1.5, "logprobs": 2},
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlmEngine]:
    folder = make_tiny_llm(tmp_path_factory.mktemp("llama"), "llama")
    with emulated_device(tmp_path_factory.mktemp("node")) as device:
        engine = load_tiny(folder, device)
        yield engine
        engine.check()
        engine.close()


def carried_on(engine: LlmEngine, name: str, begun: list[Output], tokens: int, **sampling: Any) -> list[Output]:
    """Cancel a prompt after so many of its tokens, and go on with what a client would have by then."""
    first: list[Output] = []
    for output in begun:
        if isinstance(output, Tokens):
            if tokens < len(output.token_ids):
                break
            tokens -= len(output.token_ids)
        first.append(output)
    produced = tokens_of(first, name)
    prompt = msgspec.structs.replace(text_prompt(name, IDS, **sampling), produced_ids=produced)
    accepted = engine.submit(prompt)
    assert accepted.input_tokens == len(IDS)
    return [*first, *run_all(engine)]


@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.integers(0, 29))
def test_it_goes_on_as_if_nothing_had_happened(engine: LlmEngine, rules: dict[str, Any], after: int) -> None:
    sampling = {**rules, "max_tokens": 30, "ignore_eos": True}
    engine.submit(text_prompt("a", IDS, **sampling))
    whole = run_all(engine)
    both = carried_on(engine, "a", whole, after, **sampling)
    assert tokens_of(both, "a") == tokens_of(whole, "a")
    assert text_of(both, "a") == text_of(whole, "a")
    assert finished_of(both, "a") == finished_of(whole, "a")


def test_text_held_back_for_a_stop_string_is_not_lost(engine: LlmEngine) -> None:
    sampling = {"temperature": 0.0, "max_tokens": 20, "ignore_eos": True}
    engine.submit(text_prompt("a", IDS, **sampling))
    text = text_of(run_all(engine), "a")
    stop = text[4:12]
    engine.submit(text_prompt("a", IDS, stop=(stop,), **sampling))
    whole = run_all(engine)
    assert text_of(whole, "a") == text[: text.index(stop)]
    for after in range(len(tokens_of(whole, "a"))):
        both = carried_on(engine, "a", whole, after, stop=(stop,), **sampling)
        assert text_of(both, "a") == text_of(whole, "a"), f"after {after} tokens"
        assert finished_of(both, "a") == finished_of(whole, "a")


def test_an_echo_comes_once(engine: LlmEngine) -> None:
    sampling = {"temperature": 0.0, "max_tokens": 6, "ignore_eos": True}
    asked = text_prompt("a", IDS, **sampling)
    asked = msgspec.structs.replace(asked, request=msgspec.structs.replace(asked.request, echo=True))
    engine.submit(asked)
    whole = run_all(engine)
    engine.submit(msgspec.structs.replace(asked, produced_ids=tokens_of(whole, "a")[:2]))
    rest = run_all(engine)
    assert text_of(whole, "a").endswith(text_of(rest, "a"))
    assert tokens_of(rest, "a") == tokens_of(whole, "a")[2:]
    assert len(text_of(rest, "a")) < len(text_of(whole, "a")) - len(IDS)

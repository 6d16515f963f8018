"""A body made of nothing but mistakes costs one error, not one for each mistake."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from aquahost.api.body import parse_model
from aquahost.api.control import DrainBody
from aquahost.api.fields import ApiModel
from aquahost.api.schemas_media import ImageBody, SpeechBody
from aquahost.api.schemas_text import ChatBody, CompletionBody
from aquahost.errors import InvalidRequestError

BYTES = 2_000_000
FEW = 50

USER = {"role": "user", "content": "Hi"}
CHAT = {"model": "chat", "messages": [USER]}
COMPLETION = {"model": "chat", "prompt": "Hi"}


def many(item: object) -> list[object]:
    """So many of `item` that they make 2 MB of JSON."""
    return [item] * (BYTES // (len(msgspec.json.encode(item)) + 1))


def keys(value: object = 0) -> dict[str, object]:
    """So many keys that they make 2 MB of JSON."""
    return {f"{number:06}": value for number in range(BYTES // (10 + len(msgspec.json.encode(value))))}


def said(content: object) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": content}]}


TEXT = {"type": "text", "text": "a"}
SHAPES: list[tuple[type[ApiModel], dict[str, Any], str]] = [
    (ChatBody, {**CHAT, **keys()}, "000000"),
    (CompletionBody, {**COMPLETION, **keys()}, "000000"),
    (ImageBody, {"model": "paint", "prompt": "a", **keys()}, "000000"),
    (SpeechBody, {"model": "sing", "input": "a", **keys()}, "000000"),
    (DrainBody, keys(), "000000"),
    (ChatBody, {**CHAT, "messages": many(0)}, "messages"),
    (ChatBody, {**CHAT, "messages": many({})}, "messages"),
    (ChatBody, {**CHAT, "messages": many({"a": 0, "b": 0})}, "messages"),
    (ChatBody, {**CHAT, "messages": [{}] * 9_999}, "messages[0].role"),
    (ChatBody, {**CHAT, "messages": [{"role": "user", "content": many(0)[:9]}] * 9_999}, "messages"),
    (ChatBody, {**CHAT, "messages": [USER, {**USER, **keys()}]}, "messages[1].000000"),
    (ChatBody, said(many(0)), "messages"),
    (ChatBody, said([0] * 900), "messages[0].content[0]"),
    (ChatBody, said([{}] * 900), "messages[0].content[0].type"),
    (ChatBody, said(many(TEXT)), "messages"),
    (ChatBody, said([{**TEXT, **keys()}]), "messages[0].content[0].000000"),
    (ChatBody, {**CHAT, "stream": True, "stream_options": keys()}, "stream_options.000000"),
    (ChatBody, {**CHAT, "stop": many(0)}, "stop[0]"),
    (ChatBody, {**CHAT, "stop": many("a")}, "stop"),
    (ChatBody, {**CHAT, "logit_bias": keys("x")}, "logit_bias"),
    (ChatBody, {**CHAT, "logit_bias": keys(1)}, "logit_bias"),
    (CompletionBody, {**COMPLETION, "prompt": [1, *many("")]}, "prompt[1]"),
    (CompletionBody, {**COMPLETION, "prompt": many(-1)}, "prompt[0]"),
    (CompletionBody, {**COMPLETION, "prompt": many("")}, "prompt[0]"),
    (CompletionBody, {**COMPLETION, "prompt": ["a", *many(0)]}, "prompt[1]"),
    (CompletionBody, {**COMPLETION, "prompt": many("a")}, "prompt"),
    (CompletionBody, {**COMPLETION, "prompt": many([])}, "prompt[0]"),
    (CompletionBody, {**COMPLETION, "prompt": [[1], many("x")]}, "prompt[1][0]"),
    (CompletionBody, {**COMPLETION, "prompt": [[1], *many("x")]}, "prompt[1]"),
]


@pytest.mark.parametrize(("model", "body", "param"), SHAPES)
def test_few_errors(model: type[ApiModel], body: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as failure:
        model.model_validate(body)
    assert failure.value.error_count() <= FEW
    with pytest.raises(InvalidRequestError) as refusal:
        parse_model(msgspec.json.encode(body), model)
    assert refusal.value.param == param


def test_large_and_right() -> None:
    tokens = parse_model(msgspec.json.encode({**COMPLETION, "prompt": many(1)}), CompletionBody)
    assert len(tokens.prompts()[0]) == BYTES // 2
    biases = {str(token): 1.0 for token in range(1024)}
    assert parse_model(msgspec.json.encode({**CHAT, "logit_bias": biases}), ChatBody).logit_bias == biases
    talk = parse_model(msgspec.json.encode({**CHAT, "messages": [USER] * 10_000}), ChatBody)
    assert len(talk.messages) == 10_000


@pytest.mark.parametrize(
    ("body", "param", "near"),
    [
        ({**CHAT, "temprature": 1}, "temprature", "temperature"),
        ({**CHAT, "messages": [{**USER, "contents": "x"}]}, "messages[0].contents", "content"),
        ({**CHAT, "stream": True, "stream_options": {"include_use": True}}, "stream_options.include_use", None),
        (said([{**TEXT, "tex": ""}]), "messages[0].content[0].tex", "text"),
        ({**CHAT, "x" * 1_000_000: 1}, "x" * 200 + "…", None),
    ],
)
def test_the_nearest_field_is_named(body: dict[str, Any], param: str, near: str | None) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_model(msgspec.json.encode(body), ChatBody)
    assert (refusal.value.param, refusal.value.code) == (param, "unknown_parameter")
    assert refusal.value.message.startswith(f"'{param}' is not a field of ")
    assert near is None or refusal.value.message.endswith(f"; did you mean '{near}'?")
    assert len(refusal.value.message) < 300

"""What the clients of `aquahost chaos` make of what a daemon answers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from aquahost.bench.chaos.asks import Ask, make_asks
from aquahost.bench.chaos.exchange import CutOffError, FailedError, RefusedError, exchange

STREAMED = Ask(model="m", path="/v1/completions", body={"prompt": "x"}, streamed=True)
WHOLE = Ask(model="m", path="/v1/completions", body={"prompt": "x"}, streamed=False)


def events(*values: Any, done: bool = True) -> str:
    lines = [value if isinstance(value, str) else f"data: {json.dumps(value)}" for value in values]
    return "".join(f"{line}\n\n" for line in (*lines, *(["data: [DONE]"] if done else [])))


def text(words: str, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "text": words, "finish_reason": reason}]}


async def said(ask: Ask, reply: httpx.Response | Exception) -> tuple[str, list[bool]]:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content).get("stream", False) is ask.streamed
        if isinstance(reply, Exception):
            raise reply
        return reply

    life: list[bool] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        return await exchange(http, "http://host", ask, life.append), life


async def test_a_stream_says_the_same_as_a_whole_reply() -> None:
    pieces = events(text("a"), text("x", index=1), text("b"), text("", "length"), text("", "stop", index=1))
    whole = {"choices": [*text("ab", "length")["choices"], *text("x", "stop", 1)["choices"]]}
    streamed, _ = await said(STREAMED, httpx.Response(200, text=pieces))
    assert streamed == (await said(WHOLE, httpx.Response(200, json=whole)))[0]


async def test_what_else_may_end_a_line_ends_no_event() -> None:
    strange = "a\u2028b\x85c"
    event = json.dumps(text(strange, "stop"), ensure_ascii=False)
    streamed, _ = await said(STREAMED, httpx.Response(200, text=events(f"data: {event}")))
    assert streamed == (await said(WHOLE, httpx.Response(200, json=text(strange, "stop"))))[0]


@pytest.mark.parametrize("other", [text("abc", "length"), text("ab", "stop"), text("ab", "length", index=1)])
async def test_another_text_another_end_and_another_place_are_another_reply(other: dict[str, Any]) -> None:
    first = await said(WHOLE, httpx.Response(200, json=text("ab", "length")))
    assert first != await said(WHOLE, httpx.Response(200, json=other))


async def test_the_comment_on_a_worker_s_death_is_told_apart() -> None:
    comments = (": still here", ": the worker of m died; soon", ": a1b2: the worker of m died; soon")
    _, life = await said(STREAMED, httpx.Response(200, text=events(text("a"), *comments, text(": the worker of m"))))
    assert life == [False, True, True, False, False]


async def test_only_who_says_when_to_come_again_refuses() -> None:
    with pytest.raises(RefusedError):
        await said(WHOLE, httpx.Response(503, headers={"retry-after": "5"}))
    for reply in (httpx.Response(503), httpx.Response(500, headers={"retry-after": "5"}), httpx.Response(400)):
        with pytest.raises(FailedError):
            await said(WHOLE, reply)


async def test_a_stream_that_fails_or_just_ends_has_failed_and_a_broken_one_is_cut_off() -> None:
    for stream in (events(text("a"), done=False), events({"error": {"message": "no"}})):
        with pytest.raises(FailedError):
            await said(STREAMED, httpx.Response(200, text=stream))
    for broken in (httpx.ReadError("reset"), httpx.ConnectError("refused"), httpx.RemoteProtocolError("cut")):
        with pytest.raises(CutOffError):
            await said(STREAMED, broken)


def test_prompts_are_the_same_for_a_seed_and_repeatable_each() -> None:
    models = {"toy": "toy", "tiny": "llm", "paint": "image"}
    asks = make_asks(models, 3)
    assert asks == make_asks(models, 3)
    assert asks != make_asks(models, 4)
    assert {ask.model for ask in asks} == set(models)
    assert {ask.streamed for ask in asks} == {True, False}
    for ask in asks:
        assert ask.model == "toy" or "seed" in ask.body or ask.body["temperature"] == 0

"""What a stream sends when nothing, or everything at once, comes from the engine."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from aquahost.api.app import build_app
from aquahost.api.chat_replies import ChatEncoder
from aquahost.api.errors import CancelledPromptError
from aquahost.api.prompts import PromptGroup
from aquahost.api.replies import Ask, EventStreamResponse
from aquahost.messages.prompts import Accepted, ErrorDetail, Finished, FinishReason, Request, TextRequest, Tokens
from fake_daemon import FakeDaemon, FakeStream

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
DEAD = ErrorDetail(message="the worker died", status=503, type="service_unavailable_error")


def stream_of(daemon: FakeDaemon, keep_alive_s: float) -> EventStreamResponse:
    def encoder(group: PromptGroup) -> ChatEncoder:
        return ChatEncoder(reply_id=group.id, created=0, model="chat", n=1, include_usage=False)

    ask = Ask(daemon=daemon, model="chat", requests=[TextRequest(text="x")], tenant="me")
    return EventStreamResponse(ask, encoder, keep_alive_s=keep_alive_s)


class Recorder:
    """A server's side of an ASGI application whose client stays."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.quiet = asyncio.Event()
        """Set when a comment has been sent."""

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message.get("body", b"").startswith(b":"):
            self.quiet.set()

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_silent_stream_is_kept_alive() -> None:
    daemon, client = FakeDaemon(script=lambda stream, _: stream.accept()), Recorder()
    reply = asyncio.create_task(stream_of(daemon, 0.001)({}, client.receive, client.send))
    async with asyncio.timeout(10):
        await client.quiet.wait()
        daemon.streams[0].say("word")
        daemon.streams[0].finish()
        await reply
    bodies = [message["body"] for message in client.messages[1:]]
    comments = [body for body in bodies if body.startswith(b":")]
    assert set(comments) == {b": still here\n\n"}
    assert bodies[-1] == b"data: [DONE]\n\n"
    assert [message["more_body"] for message in client.messages[1:]] == [True] * (len(bodies) - 1) + [False]
    assert b"word" in b"".join(bodies)


async def test_a_stream_that_flows_needs_no_comments() -> None:
    daemon, client = FakeDaemon(), Recorder()
    await stream_of(daemon, 3600)({}, client.receive, client.send)
    assert not client.quiet.is_set()
    assert len(asyncio.all_tasks()) == 1


def text_then_death(stream: FakeStream, _: Request) -> None:
    stream.feed(
        Accepted(stream.prompt_id, 1),
        Tokens(stream.prompt_id, "Hel", [1]),
        Tokens(stream.prompt_id, "lo", [2]),
        Finished(prompt_id=stream.prompt_id, reason=FinishReason.ERROR, error=DEAD),
    )


async def post(app: FastAPI, body: object) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("n", [1, 2])
async def test_text_comes_before_the_error_of_its_batch(n: int) -> None:
    app = build_app(FakeDaemon(script=text_then_death))
    reply = await post(app, {**CHAT, "stream": True, "n": n})
    assert reply.status_code == 200
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line]
    texts = [choice["delta"].get("content") for event in events[:-1] for choice in event["choices"]]
    assert "".join(text or "" for text in texts) == "Hello" * n
    assert all(choice["finish_reason"] is None for event in events[:-1] for choice in event["choices"])
    assert events[-1]["error"]["message"] == "the worker died"
    collected = await post(app, {**CHAT, "n": n})
    assert (collected.status_code, collected.json()["error"]["message"]) == (503, "the worker died")


async def test_an_error_without_text_has_its_status() -> None:
    def script(stream: FakeStream, _: Request) -> None:
        stream.accept()
        stream.fail(DEAD)

    reply = await post(build_app(FakeDaemon(script=script)), {**CHAT, "stream": True})
    assert reply.status_code == 503


async def test_a_later_batch_with_text_and_an_end() -> None:
    daemon = FakeDaemon(script=lambda stream, _: stream.accept())
    with PromptGroup(daemon, "chat", [TextRequest(text="x")] * 2, "me") as group:
        await group.first()
        daemon.streams[1].say("a")
        daemon.streams[1].cancel()
        assert await group.next() == [(1, [Tokens("p2", "a", [1])])]
        assert group.live
        with pytest.raises(CancelledPromptError):
            await group.next()
    assert daemon.streams[0].cancelled


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", {**CHAT, "n": 9}, "n"),
        ("/v1/completions", {"model": "chat", "prompt": "a", "n": 9}, "n"),
        ("/v1/completions", {"model": "chat", "prompt": ["a"] * 9}, "prompt"),
        ("/v1/completions", {"model": "chat", "prompt": ["a"] * 3, "n": 3}, "n"),
        ("/v1/images/generations", {"model": "paint", "prompt": "a", "n": 9}, "n"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_more_prompts_than_the_queue_ever_holds(
    path: str, body: dict[str, Any], param: str, stream: bool
) -> None:
    daemon = FakeDaemon(max_queue=8)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(daemon)), base_url="http://[::1]") as client:
        reply = await client.post(path, json={**body, "stream": stream})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error"]["param"] == param
        assert "8" in reply.json()["error"]["message"]
        assert "retry-after" not in reply.headers
        assert daemon.streams == []
        fits = {**body, "n": 1, "prompt": "a"} if "prompt" in body else {**body, "n": 8}
        assert (await client.post(path, json=fits)).status_code == 200


async def test_an_unknown_model_is_unknown_however_many_prompts() -> None:
    reply = await post(build_app(FakeDaemon(max_queue=8)), {**CHAT, "model": "none", "n": 9})
    assert reply.status_code == 404

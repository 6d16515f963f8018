"""X-Aquahost-* headers and queue comments of every prompt route, over a daemon of canned answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from aquahost.api.app import build_app
from aquahost.api.rate_limits import RATE_HEADERS
from aquahost.errors import QueueFullError
from aquahost.messages.prompts import ErrorDetail, Notice, Request
from fake_daemon import FakeDaemon, FakeStream

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
ROUTES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT, {"stream": True}),
    ("/v1/completions", {"model": "chat", "prompt": "Hi"}, {"stream": True}),
    ("/v1/images/generations", {"model": "paint", "prompt": "a boat"}, {"stream": True}),
    ("/v1/audio/speech", {"model": "sing", "input": "a song"}, {"stream_format": "sse"}),
]
EVERY_ROUTE = pytest.mark.parametrize(("path", "body", "streamed"), ROUTES, ids=[route[0] for route in ROUTES])


def chatty(stream: FakeStream, _: Request) -> None:
    """Tell whoever asked how it stands, then end."""
    stream.accept()
    if stream.notices:
        stream.feed(Notice(stream.prompt_id, "waiting, 1 before you"), Notice(stream.prompt_id, "running"))
    stream.finish()


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
async def http(daemon: FakeDaemon) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(daemon))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def comments(reply: httpx.Response) -> list[str]:
    return [line for line in reply.text.splitlines() if line.startswith(":")]


@EVERY_ROUTE
async def test_replies_name_their_prompt_and_its_queue(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], streamed: dict[str, Any]
) -> None:
    for number, more in enumerate(({}, streamed), start=1):
        reply = await http.post(path, json={**body, **more})
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-aquahost-prompt-id"] == f"p{number}"
        assert reply.headers["x-aquahost-queue-length"] == "1"


@EVERY_ROUTE
async def test_priority_goes_with_the_prompt(
    http: httpx.AsyncClient, daemon: FakeDaemon, path: str, body: dict[str, Any], streamed: dict[str, Any]
) -> None:
    assert (await http.post(path, json={**body, "priority": -7})).status_code == 200
    assert (await http.post(path, json=body)).status_code == 200
    assert [stream.priority for stream in daemon.streams] == [-7, 0]
    for wrong in (1_000_001, -1_000_001, 1.5, "high"):
        reply = await http.post(path, json={**body, "priority": wrong})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "priority")


@EVERY_ROUTE
async def test_streams_comment_for_those_who_ask(
    http: httpx.AsyncClient, daemon: FakeDaemon, path: str, body: dict[str, Any], streamed: dict[str, Any]
) -> None:
    daemon.script = chatty
    for value in ("queue", " Queue "):
        reply = await http.post(path, json={**body, **streamed}, headers={"X-Aquahost-Comments": value})
        assert comments(reply) == [": waiting, 1 before you", ": running"]
    assert comments(await http.post(path, json={**body, **streamed})) == []
    assert [stream.notices for stream in daemon.streams] == [True, True, False]


@EVERY_ROUTE
@pytest.mark.parametrize("value", ["", "tokens", "queue, tokens"])
async def test_an_unknown_wish_is_refused_naming_what_is_allowed(
    http: httpx.AsyncClient, daemon: FakeDaemon, path: str, body: dict[str, Any], streamed: dict[str, Any], value: str
) -> None:
    for more in ({}, streamed):
        reply = await http.post(path, json={**body, **more}, headers={"X-Aquahost-Comments": value})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (400, "unknown_header_value")
        assert error["param"] == "X-Aquahost-Comments"
        assert "'queue'" in error["message"]
    assert daemon.streams == []


async def test_whoever_does_not_stream_may_ask_and_makes_no_notices(
    http: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    reply = await http.post("/v1/chat/completions", json=CHAT, headers={"X-Aquahost-Comments": "queue"})
    assert reply.status_code == 200
    assert not daemon.streams[0].notices


async def test_several_prompts_are_told_apart(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.script = chatty
    body = {**CHAT, "n": 2, "stream": True}
    reply = await http.post("/v1/chat/completions", json=body, headers={"X-Aquahost-Comments": "queue"})
    told = ("running", "waiting, 1 before you")
    assert sorted(comments(reply)) == [f": p{n}: {words}" for n in (1, 2) for words in told]
    assert reply.headers["x-aquahost-prompt-id"] == "p1, p2"


async def test_eight_ids_are_enough(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.script = lambda stream, _: stream.accept() if len(daemon.streams) < 10 else finish_all(daemon)
    reply = await http.post("/v1/completions", json={"model": "chat", "prompt": ["a"] * 10})
    assert reply.headers["x-aquahost-prompt-id"] == ", ".join(f"p{n}" for n in range(1, 9))
    assert reply.headers["x-aquahost-queue-length"] == "10"


def finish_all(daemon: FakeDaemon) -> None:
    daemon.streams[-1].accept()
    for stream in daemon.streams:
        stream.finish()


@pytest.mark.parametrize("stream", [False, True])
async def test_failures_name_their_prompt_too(http: httpx.AsyncClient, daemon: FakeDaemon, stream: bool) -> None:
    detail = ErrorDetail(message="out of memory", status=503, code="out_of_memory", retry_after_s=2.0)
    daemon.script = lambda stream, _: stream.fail(detail)
    reply = await http.post("/v1/chat/completions", json={**CHAT, "stream": stream, "n": 2})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "out_of_memory")
    assert reply.headers["x-aquahost-prompt-id"] == "p1, p2"
    assert (reply.headers["x-aquahost-queue-length"], reply.headers["retry-after"]) == ("1", "2")
    assert daemon.live == []


async def test_a_full_queue_says_how_long_it_is(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.refuse = QueueFullError("full", code="queue_full", retry_after_s=1.0, queue_length=256)
    reply = await http.post("/v1/chat/completions", json=CHAT)
    assert (reply.status_code, reply.headers["x-aquahost-queue-length"]) == (429, "256")
    assert "x-aquahost-prompt-id" not in reply.headers


async def test_the_document_has_them(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    for path, _, _ in ROUTES:
        operation = paths[path]["post"]
        names = {"X-Aquahost-Prompt-Id", "X-Aquahost-Queue-Length", *(f"x-ratelimit-{what}" for what in RATE_HEADERS)}
        assert set(operation["responses"]["200"]["headers"]) == names
        assert operation["responses"]["200"]["content"]
        assert [parameter["name"] for parameter in operation["parameters"]] == ["X-Aquahost-Comments"]

"""What a tenant may ask for in a minute: 429 beyond it, OpenAI's headers, and what is not used comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from aquahost.api.app import build_app
from aquahost.api.errors import RateLimitedError
from aquahost.api.rate_limits import RateLimits, duration, likely_tokens
from aquahost.clock import VirtualClock
from aquahost.config.settings import TenantSettings
from aquahost.errors import QueueFullError
from aquahost.messages.prompts import Accepted, ImageRequest, Request, Sampling, TextRequest, Tokens
from daemon_fixtures import until
from fake_daemon import INPUT_TOKENS, WORDS, FakeDaemon, FakeStream, fake_settings

KEY = "key-of-small"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
IMAGE = {"model": "paint", "prompt": "a boat"}
USED = INPUT_TOKENS + len(WORDS)


def daemon_with(**limits: int) -> FakeDaemon:
    tenants = {"small": {"key": KEY, **limits}, "free": {"key": "key-of-free"}}
    return FakeDaemon(fake_settings(tenants=tenants))


@asynccontextmanager
async def client_of(daemon: FakeDaemon, key: str = KEY) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(daemon))
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


def left(reply: httpx.Response, what: str = "tokens") -> int:
    return int(reply.headers[f"x-ratelimit-remaining-{what}"])


async def test_requests_beyond_the_limit_are_refused_in_openai_s_words() -> None:
    daemon = daemon_with(requests_per_minute=2)
    async with client_of(daemon) as client:
        replies = [await client.post("/v1/chat/completions", json=CHAT) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert [left(reply, "requests") for reply in replies] == [1, 0, 0]
    refusal = replies[2]
    assert refusal.headers["x-ratelimit-limit-requests"] == "2"
    assert refusal.headers["x-ratelimit-reset-requests"] in ("1m0s", "59.9s")
    assert refusal.headers["retry-after"] == "30"
    assert "x-ratelimit-limit-tokens" not in refusal.headers
    error = refusal.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "2 requests a minute" in error["message"]
    assert len(daemon.streams) == 2


async def test_a_request_counts_even_if_it_is_wrong_and_its_body_is_not_read_when_refused() -> None:
    async with client_of(daemon_with(requests_per_minute=1)) as client:
        assert (await client.post("/v1/chat/completions", json={})).status_code == 400
        assert (await client.post("/v1/chat/completions", json={})).status_code == 429


async def test_one_tenant_s_limit_is_no_other_s() -> None:
    daemon = daemon_with(requests_per_minute=1, tokens_per_minute=1)
    async with client_of(daemon, "key-of-free") as client:
        for _ in range(5):
            reply = await client.post("/v1/chat/completions", json=CHAT)
            assert reply.status_code == 200
            assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"n": 3}, {"n": 3, "stream": True}])
async def test_what_a_reply_did_not_use_of_its_reservation_comes_back(more: dict[str, Any]) -> None:
    n = more.get("n", 1)
    async with client_of(daemon_with(tokens_per_minute=10_000)) as client:
        first = await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1000, **more})
        second = await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1000, **more})
    assert first.status_code == second.status_code == 200
    assert 10_000 - 1010 * n <= left(first) < 10_000 - 1000 * n
    assert left(first) - left(second) == pytest.approx(USED * n, abs=5)  # some came back by the clock


async def test_what_a_prompt_used_beyond_its_reservation_is_charged() -> None:
    def long_reply(stream: FakeStream, _: Request) -> None:
        stream.feed(Accepted(stream.prompt_id, 5000), Tokens(stream.prompt_id, "x", [1] * 2000))
        stream.finish()

    daemon = daemon_with(tokens_per_minute=6000)
    daemon.script = long_reply
    async with client_of(daemon) as client:
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
        refusal = await client.post("/v1/chat/completions", json=CHAT)
    assert refusal.status_code == 429
    assert left(refusal) == 0
    assert 12 <= int(refusal.headers["retry-after"]) <= 14  # a debt of 1000, and 257 to begin with, at 100 a second


@pytest.mark.parametrize("n", [1, 2])
async def test_tokens_that_nobody_took_are_charged_and_those_never_made_are_not(n: int) -> None:
    """A client that leaves has not saved the tokens that were made for it."""

    def makes_much(stream: FakeStream, _: Request) -> None:
        stream.accept()
        stream.feed(Tokens(stream.prompt_id, "x", [1] * 500))

    daemon = daemon_with(tokens_per_minute=10_000)
    daemon.script = makes_much
    async with client_of(daemon) as client:
        request = asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1500, "n": n}))
        await until(lambda: len(daemon.live) == n)
        for stream in daemon.streams:
            stream.feed(Tokens(stream.prompt_id, "y", [2] * 100))
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        assert not daemon.live
        daemon.script = lambda stream, _: stream.finish()
        reply = await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1})
    assert 10_000 - left(reply) == pytest.approx(n * (INPUT_TOKENS + 600), abs=20)


async def test_a_refused_submission_gives_all_back() -> None:
    daemon = daemon_with(tokens_per_minute=10_000)
    daemon.refuse = QueueFullError("full", code="queue_full", retry_after_s=1.0, queue_length=256)
    async with client_of(daemon) as client:
        for _ in range(20):
            assert (await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 9000})).status_code == 429
        daemon.refuse = None
        assert (await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 9000})).status_code == 200


async def test_images_take_requests_and_no_tokens() -> None:
    async with client_of(daemon_with(tokens_per_minute=1, requests_per_minute=9)) as client:
        for number in range(3):
            reply = await client.post("/v1/images/generations", json=IMAGE)
            assert (reply.status_code, left(reply), left(reply, "requests")) == (200, 1, 8 - number)


async def test_more_prompts_than_a_tenant_s_queue_holds_are_no_matter_of_waiting() -> None:
    async with client_of(daemon_with(max_queue=2)) as client:
        reply = await client.post("/v1/chat/completions", json={**CHAT, "n": 3})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "too_many_prompts")
    assert "your queue holds 2" in reply.json()["error"]["message"]


def test_buckets_fill_with_the_clock() -> None:
    clock = VirtualClock()
    limits = RateLimits({"small": TenantSettings(key=KEY, tokens_per_minute=60)}, clock)
    text = TextRequest(token_ids=[1] * 10, sampling=Sampling(max_tokens=20))
    limits.of("small").reserve([text, text])
    assert limits.of("small").headers()["x-ratelimit-reset-tokens"] == "1m0s"
    clock.advance(30.0)
    reservation = limits.of("small").reserve([text])
    reservation.settle()
    reservation.settle()
    assert limits.of("small").headers()["x-ratelimit-remaining-tokens"] == "30"


@pytest.mark.parametrize(
    ("request_", "tokens"),
    [
        (TextRequest(token_ids=[1] * 10, sampling=Sampling(max_tokens=5)), 15),
        (TextRequest(text="x" * 400, sampling=Sampling(max_tokens=5)), 106),
        (TextRequest(messages=[{"role": "user", "content": "x" * 40}] * 2, sampling=Sampling(max_tokens=5)), 26),
        (TextRequest(text="x" * 40), 267),
        (ImageRequest(text="x"), 0),
    ],
)
def test_likely_tokens(request_: Request, tokens: int) -> None:
    assert likely_tokens(request_) == tokens


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.12, "120ms"), (0.9999, "1s"), (1.5, "1.5s"), (59.99, "1m0s"), (60, "1m0s"), (360, "6m0s")],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_reload_keeps_what_a_tenant_has_used_where_its_limits_are_the_same() -> None:
    once = TenantSettings(key="a-long-key", requests_per_minute=1)
    limits = RateLimits({"web": once, "batch": once}, VirtualClock())
    limits.of("web").spend_request()
    limits.of("batch").spend_request()
    limits.use({"web": once, "batch": TenantSettings(key="a-long-key", requests_per_minute=2)})
    with pytest.raises(RateLimitedError):
        limits.of("web").spend_request()
    limits.of("batch").spend_request()
    limits.use({})
    limits.of("web").spend_request()

"""Any JSON at any route: never a 5xx, never a prompt left behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from aquahost.api.app import build_app
from aquahost.api.schemas_media import ImageBody, SpeechBody
from aquahost.api.schemas_text import ChatBody, CompletionBody
from fake_daemon import FakeDaemon

GOOD: dict[str, tuple[type, dict[str, Any]]] = {
    "/v1/chat/completions": (ChatBody, {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}),
    "/v1/completions": (CompletionBody, {"model": "chat", "prompt": "Hi"}),
    "/v1/images/generations": (ImageBody, {"model": "paint", "prompt": "a boat"}),
    "/v1/audio/speech": (SpeechBody, {"model": "sing", "input": "a song"}),
}
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1e308]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20), st.sampled_from(["auto", "url", "1x1"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "name", "tool_calls", "x"]),
        st.one_of(st.sampled_from(["user", "system"]), VALUES),
    ),
    max_size=3,
)


DAEMON = FakeDaemon()
APP = build_app(DAEMON)


def check(path: str, content: bytes) -> None:
    DAEMON.streams.clear()
    reply = asyncio.run(post(path, content))
    assert reply.status_code in (200, 400, 404), reply.text
    if reply.status_code != 200:
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert DAEMON.live == []


async def post(path: str, content: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(APP, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.post(path, content=content, headers={"content-type": "application/json"})


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    path = draw(st.sampled_from(sorted(GOOD)))
    model, good = GOOD[path]
    fields = st.sampled_from(sorted(getattr(model, "model_fields")))  # noqa: B009
    changes = draw(st.dictionaries(st.one_of(fields, st.text(max_size=8)), VALUES, max_size=3))
    if "messages" in good and draw(st.booleans()):
        changes["messages"] = draw(MESSAGES)
    return path, {**good, **changes}


@settings(max_examples=150, deadline=None)
@given(bodies())
def test_any_fields(case: tuple[str, dict[str, Any]]) -> None:
    path, body = case
    check(path, json.dumps(body).encode())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=64), st.integers(0, 60))
def test_any_bytes(path: str, noise: bytes, at: int) -> None:
    good = json.dumps(GOOD[path][1]).encode()
    check(path, good[:at] + noise + good[at:])
    check(path, noise)

"""Streams of the control routes, before a server whose client reads as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from aquahost.api.app import build_app
from aquahost.client import StepDone, TextEnd, TextPiece
from aquahost.events import Event
from aquahost.messages.prompts import FinishReason, ImageRequest, Progress, TextRequest
from aquahost.messages.snapshot import Snapshot
from aquahost.streamed import sse_events
from fake_daemon import FakeDaemon, hang


class Reader:
    """A client on the Unix socket: `take` reads one chunk of its reply; until then the server's `send` waits."""

    def __init__(self, daemon: FakeDaemon, path: str, query: str = "") -> None:
        self._chunks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._taken = asyncio.Semaphore(1)
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [],
            "server": ("/socket", None),
            "client": None,
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
        }
        self.task = asyncio.ensure_future(build_app(daemon)(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._gone.is_set():
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self._taken.acquire()
        self._chunks.put_nowait(message)

    async def take(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            chunk = await self._chunks.get()
        self._taken.release()
        return chunk

    async def events(self) -> AsyncIterator[tuple[bytes, bytes]]:
        start = await self.take()
        assert start["status"] == 200
        assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
        while (chunk := await self.take()).get("more_body"):
            for event in sse_events(iter([chunk["body"]])):
                yield event

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(10):
            await self.task


async def test_a_watcher_gets_a_snapshot_at_once_then_events_and_snapshots_to_the_daemon_s_end() -> None:
    daemon = FakeDaemon()
    reader = Reader(daemon, "/control/watch", "per_s=30&after=1")
    events = reader.events()
    name, data = await anext(events)
    assert name == b"snapshot"
    assert msgspec.json.decode(data, type=Snapshot) == daemon.snapshot()
    name, data = await anext(events)
    assert (name, msgspec.json.decode(data, type=Event).seq) == (b"event", 2)
    assert [(await anext(events))[0] for _ in range(3)] == [b"snapshot"] * 3
    daemon.stopped.set()
    async for name, _ in events:
        assert name == b"snapshot"
    await reader.task
    assert daemon.calls == [("events closed",)]


async def test_a_slow_reader_gets_fewer_snapshots_and_none_is_made_ahead() -> None:
    daemon = FakeDaemon()
    made = 0
    snapshot = daemon.snapshot

    def counted() -> Snapshot:
        nonlocal made
        made += 1
        return snapshot()

    daemon.snapshot = counted  # type: ignore[method-assign]
    reader = Reader(daemon, "/control/watch", "per_s=30&after=2")
    events = reader.events()
    await anext(events)
    await asyncio.sleep(0.5)
    assert made <= 3, "one that was taken, one on its way, one that waits for it"
    before = made
    for _ in range(3):
        await anext(events)
    assert made <= before + 3
    await reader.leave()
    assert daemon.calls == [("events closed",)]


@pytest.mark.parametrize("query", ["per_s=0.09", "per_s=31", "per_s=nan", "per_s=x", "after=-1"])
async def test_rates_have_bounds(query: str) -> None:
    reader = Reader(FakeDaemon(), "/control/watch", query)
    assert (await reader.take())["status"] == 400
    await reader.take()
    await reader.task


async def test_two_watch_a_prompt_and_one_leaves() -> None:
    daemon = FakeDaemon(script=hang)
    prompt = daemon.submit("chat", TextRequest(text="x"), tenant="t")
    leaver, stayer = (Reader(daemon, f"/control/prompts/{prompt.prompt_id}/output") for _ in range(2))
    for reader in (leaver, stayer):
        name, data = await anext(reader.events())
        assert (name, msgspec.json.decode(data, type=TextPiece)) == (b"text", TextPiece("Hm"))
    await leaver.leave()
    assert not prompt.cancelled
    prompt.say(" ü")
    prompt.finish(FinishReason.LENGTH, tokens=2)
    assert msgspec.json.decode(next(sse_events(iter([(await stayer.take())["body"]])))[1], type=TextPiece).text == " ü"
    name, data = next(sse_events(iter([(await stayer.take())["body"]])))
    end = TextEnd(finish_reason="length", input_tokens=7, output_tokens=2)
    assert (name, msgspec.json.decode(data, type=TextEnd)) == (b"end", end)
    assert not (await stayer.take())["more_body"]
    await stayer.task


async def test_an_image_s_steps_can_be_watched() -> None:
    daemon = FakeDaemon(script=hang)
    prompt = daemon.submit("paint", ImageRequest(text="x"), tenant="t")
    events = Reader(daemon, f"/control/prompts/{prompt.prompt_id}/output").events()
    name, data = await anext(events)
    assert (name, msgspec.json.decode(data, type=StepDone)) == (b"step", StepDone(step=1, steps=9))
    prompt.feed(Progress(prompt.prompt_id, 2, 9))
    assert (await anext(events))[1] == b'{"step":2,"steps":9}'
    prompt.cancel()
    assert [name async for name, _ in events] == [b"end"]


async def test_only_live_prompts_can_be_watched() -> None:
    reader = Reader(FakeDaemon(), "/control/prompts/nobody/output")
    assert (await reader.take())["status"] == 404
    assert b'"code":"prompt_not_found"' in (await reader.take())["body"]
    await reader.task

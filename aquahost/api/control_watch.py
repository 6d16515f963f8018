"""Control routes that go on: the daemon's state as it changes, and what a prompt produces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from aquahost.api.contract import Daemon
from aquahost.api.event_stream import EVENT_STREAM, StreamedResponse, text_reply
from aquahost.api.front import Front
from aquahost.api.http_protocol import UNREAD
from aquahost.api.replies import SSE_HEADERS, sse_event
from aquahost.events import Event
from aquahost.messages.prompts import Finished, FinishReason, Progress, Tokens

LOOK_AGAIN_S = 0.02
"""Between two looks whether a slow reader has taken what it was sent."""


class OutputText(msgspec.Struct, frozen=True):
    """Text that a prompt has newly produced, or all it had when its watcher came."""

    text: str


class OutputStep(msgspec.Struct, frozen=True):
    """How far an image or a sound has come."""

    step: int
    steps: int


class OutputEnd(msgspec.Struct, frozen=True):
    """A prompt has ended."""

    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int


def add_watch_routes(app: FastAPI, front: Front) -> None:
    """Add the routes to `app`."""
    daemon = front.daemon

    async def watch(
        request: Request,
        per_s: Annotated[float, Query(ge=0.1, le=30)] = 4.0,
        after: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """Server-sent events: a `snapshot` at once and then so many a second, and each `event` numbered above `after`
        as it happens. Whoever reads slowly gets fewer snapshots."""
        front.gate.require_control(request.scope)
        return StreamedResponse(_watched(daemon, 1 / per_s, after, _unread_of(request.scope)), SSE_HEADERS)

    async def output(request: Request, prompt_id: str) -> Response:
        """Server-sent events of a live prompt: its `text` so far and then new text, or each `step` of an image or a
        sound, and its `end`."""
        front.gate.require_control(request.scope)
        return StreamedResponse(_output(daemon.prompt_output(prompt_id)), SSE_HEADERS)

    for path, handler in (("/control/watch", watch), ("/control/prompts/{prompt_id}/output", output)):
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            tags=["Control"],
            response_class=Response,
            response_model=None,
            responses=text_reply(EVENT_STREAM),
        )


def _unread_of(scope: Scope) -> Callable[[], int]:
    """Tells how much of the reply its reader has still to take."""
    extension = (scope.get("extensions") or {}).get(UNREAD)
    return extension["bytes"] if extension is not None else lambda: 0


async def _watched(daemon: Daemon, period_s: float, after: int, unread: Callable[[], int]) -> AsyncGenerator[bytes]:
    """Nothing is made ahead: a snapshot is taken once it is due and the reader has taken what came before."""
    loop = asyncio.get_running_loop()
    events = daemon.events(after)
    coming: asyncio.Future[Event | None] | None = None
    due_s = loop.time() + period_s
    yield sse_event("snapshot", daemon.snapshot())
    try:
        while True:
            now_s = loop.time()
            if now_s >= due_s and unread():
                due_s = now_s + LOOK_AGAIN_S
            elif now_s >= due_s:
                due_s = max(due_s + period_s, now_s)
                yield sse_event("snapshot", daemon.snapshot())
                continue
            coming = coming or asyncio.ensure_future(_next(events))
            await asyncio.wait((coming,), timeout=due_s - now_s)
            if coming.done():
                event, coming = coming.result(), None
                if event is None:
                    return
                yield b"id: %d\n%b" % (event.seq, sse_event("event", event))
    finally:
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError):
                await coming


async def _next(events: AsyncIterator[Event]) -> Event | None:
    """The next event; None after the last."""
    async for event in events:
        return event
    return None


async def _output(seen: AsyncGenerator[Tokens | Progress | Finished]) -> AsyncGenerator[bytes]:
    async with aclosing(seen):
        async for one in seen:
            match one:
                case Tokens(_, text):
                    yield sse_event("text", OutputText(text))
                case Progress(_, step, steps):
                    yield sse_event("step", OutputStep(step, steps))
                case Finished():
                    yield sse_event("end", OutputEnd(one.reason, one.input_tokens, one.output_tokens))

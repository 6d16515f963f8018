"""Routes under /control/, for CLI and terminal UI: on the Unix socket, or over TCP with the admin key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aquahost.api.body import parse_model, read_body
from aquahost.api.contract import Daemon
from aquahost.api.fields import ApiModel
from aquahost.api.front import Front
from aquahost.api.logs import log_text
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.prompts import ClientGoneError, while_connected
from aquahost.api.replies import SSE_HEADERS, json_response
from aquahost.errors import UnknownModelError
from aquahost.messages.snapshot import Snapshot

TEXT_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]


class DrainBody(ApiModel):
    """Body of unload and shutdown; may be left out."""

    drain_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds that live prompts may take to end before they are cancelled."""


class Done(msgspec.Struct, frozen=True):
    """The request has been carried out, or is being."""

    status: str = "ok"


class StreamedResponse(Response):
    """Sends what a generator yields, until it ends or the client leaves."""

    def __init__(self, chunks: AsyncGenerator[bytes], headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._chunks, self._start_headers = chunks, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(self._send_all(send), receive)
        except ClientGoneError:
            return

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._start_headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def add_control_routes(app: FastAPI, front: Front) -> None:
    """Add all routes to `app`."""
    _add_watching(app, front)
    _add_commands(app, front)


def _add_watching(app: FastAPI, front: Front) -> None:
    daemon = front.daemon

    async def snapshot(request: Request) -> Response:
        """The daemon's state at this instant."""
        front.gate.require_control(request.scope)
        return json_response(daemon.snapshot())

    async def events(request: Request, after: Annotated[int, Query(ge=0)] = 0) -> Response:
        """Server-sent events: those numbered above `after`, then new ones as they happen."""
        front.gate.require_control(request.scope)
        return StreamedResponse(_event_lines(daemon, after), SSE_HEADERS)

    async def logs(
        request: Request,
        model: str | None = None,
        lines: Annotated[int, Query(ge=0, le=100_000)] = 200,
        follow: bool = False,
    ) -> Response:
        """The last lines of a model's log, or of the daemon's; with `follow`, new ones as they are written."""
        front.gate.require_control(request.scope)
        if model is not None and model not in daemon.settings.models:
            raise UnknownModelError(f"no model is named '{model[:200]}'")
        path = daemon.log_path(model)
        text = _followed_log(daemon, path, lines) if follow else log_text(path, lines, ended=lambda: True)
        return StreamedResponse(text, TEXT_HEADERS)

    for path, handler, responses in (
        ("/control/snapshot", snapshot, reply_of(Snapshot)),
        ("/control/events", events, _text_reply("text/event-stream")),
        ("/control/logs", logs, _text_reply("text/plain")),
    ):
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            tags=["Control"],
            response_class=Response,
            response_model=None,
            responses=responses,
        )


def _text_reply(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media_type: {"schema": {"type": "string"}}}}}


async def _event_lines(daemon: Daemon, after: int) -> AsyncGenerator[bytes]:
    async for event in daemon.events(after):
        yield b"id: %d\ndata: %b\n\n" % (event.seq, msgspec.json.encode(event))


async def _followed_log(daemon: Daemon, path: Path, lines: int) -> AsyncGenerator[bytes]:
    """A log that is followed until the daemon stops, so that it does not keep the HTTP server from closing."""
    stopped = asyncio.create_task(_stopped(daemon))
    try:
        async with aclosing(log_text(path, lines, ended=stopped.done)) as text:
            async for data in text:
                yield data
    finally:
        stopped.cancel()


async def _stopped(daemon: Daemon) -> None:
    """Returns when the daemon's events end."""
    async for _ in daemon.events(daemon.snapshot().last_event_seq):
        pass


def _add_commands(app: FastAPI, front: Front) -> None:
    daemon = front.daemon

    async def load(request: Request, name: str) -> Response:
        """Start loading a model; its progress is in the snapshot and in the events."""
        front.gate.require_control(request.scope)
        daemon.load(name)
        return json_response(Done("loading"), 202)

    async def unload(request: Request, name: str) -> Response:
        """Unload a model, and answer once that is done."""
        front.gate.require_control(request.scope)
        await daemon.unload(name, (await _drain_body(request, front)).drain_s)
        return json_response(Done())

    async def cancel(request: Request, prompt_id: str) -> Response:
        """Cancel a live prompt."""
        front.gate.require_control(request.scope)
        daemon.cancel(prompt_id)
        return json_response(Done())

    async def drain(request: Request) -> Response:
        """Refuse new prompts from now on; live ones go on."""
        front.gate.require_control(request.scope)
        await daemon.drain()
        return json_response(Done("draining"))

    async def shutdown(request: Request) -> Response:
        """End the daemon once live prompts have ended, at the latest after `drain_s`."""
        front.gate.require_control(request.scope)
        daemon.request_shutdown((await _drain_body(request, front)).drain_s)
        return json_response(Done("stopping"), 202)

    for path, handler, has_body in (
        ("/control/models/{name:path}/load", load, False),
        ("/control/models/{name:path}/unload", unload, True),
        ("/control/prompts/{prompt_id}/cancel", cancel, False),
        ("/control/drain", drain, False),
        ("/control/shutdown", shutdown, True),
    ):
        app.add_api_route(
            path,
            handler,
            methods=["POST"],
            tags=["Control"],
            response_model=None,
            responses=reply_of(Done),
            openapi_extra=body_of(DrainBody) if has_body else None,
        )


async def _drain_body(request: Request, front: Front) -> DrainBody:
    body = await read_body(request, front.max_body_bytes)
    return parse_model(body, DrainBody) if body.strip() else DrainBody()

"""Routes under /control/, for CLI and terminal UI: on the Unix socket, or over TCP with the admin key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.contract import Daemon
from aquahost.api.control_config import add_config_control_routes
from aquahost.api.control_models import Done, DrainBody, Stopping, add_model_control_routes, drain_time
from aquahost.api.control_watch import add_watch_routes
from aquahost.api.event_stream import EVENT_STREAM, StreamedResponse, text_reply
from aquahost.api.front import Front
from aquahost.api.logs import log_text
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.replies import SSE_HEADERS, json_response
from aquahost.errors import UnknownModelError
from aquahost.messages.snapshot import Snapshot

TEXT_HEADERS = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]


def add_control_routes(app: FastAPI, front: Front) -> None:
    """Add all routes to `app`."""
    _add_watching(app, front)
    add_watch_routes(app, front)
    add_model_control_routes(app, front)
    add_config_control_routes(app, front)
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
        ("/control/events", events, text_reply(EVENT_STREAM)),
        ("/control/logs", logs, text_reply("text/plain")),
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
        """End the daemon once live prompts have ended, at the latest after `drain_s`, which the reply repeats."""
        front.gate.require_control(request.scope)
        drain_s = await drain_time(request, front)
        daemon.request_shutdown(drain_s)
        return json_response(Stopping("stopping", drain_s), 202)

    for path, handler, has_body in (
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

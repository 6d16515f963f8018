"""Control routes of one model each: into GPU memory, out of it, and aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.body import parse_model, read_body
from aquahost.api.fields import ApiModel
from aquahost.api.front import Front
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.replies import json_response


class DrainBody(ApiModel):
    """Body of unload and shutdown; may be left out."""

    drain_s: Annotated[float | None, Field(ge=0, le=86_400)] = None
    """Seconds that live prompts may take to end before they are cancelled; host.drain_s without it."""


class Done(msgspec.Struct, frozen=True):
    """The request has been carried out, or is being."""

    status: str = "ok"


class Stopping(msgspec.Struct, frozen=True):
    """The daemon is about to end."""

    status: str
    drain_s: float
    """How long live prompts may take."""


async def drain_time(request: Request, front: Front) -> float:
    """How many seconds a request lets prompts go on. Raises InvalidRequestError."""
    body = await read_body(request, front.max_body_bytes)
    drain_s = parse_model(body, DrainBody).drain_s if body.strip() else None
    return front.daemon.settings.host.drain_s if drain_s is None else drain_s


def add_model_control_routes(app: FastAPI, front: Front) -> None:
    """Add the routes to `app`."""
    daemon = front.daemon

    async def load(request: Request, name: str) -> Response:
        """Start loading a model; its progress is in the snapshot and in the events."""
        front.gate.require_control(request.scope)
        daemon.load(name)
        return json_response(Done("loading"), 202)

    async def unload(request: Request, name: str) -> Response:
        """Unload a model, and answer once that is done."""
        front.gate.require_control(request.scope)
        await daemon.unload(name, await drain_time(request, front))
        return json_response(Done())

    async def park(request: Request, name: str) -> Response:
        """Have an idle model's weights leave its GPU; where they lie is in the snapshot. 409 for a model that is not
        loaded, has prompts or is pinned, and where nobody lends."""
        front.gate.require_control(request.scope)
        daemon.park(name)
        return json_response(Done("parking"), 202)

    async def wake(request: Request, name: str) -> Response:
        """Have a parked model's weights come back to its GPU."""
        front.gate.require_control(request.scope)
        daemon.wake(name)
        return json_response(Done("waking"), 202)

    async def pin(request: Request, name: str) -> Response:
        """Never park a model until it is unpinned, whatever its entry says; one that is parked wakes."""
        front.gate.require_control(request.scope)
        daemon.pin(name, pinned=True)
        return json_response(Done())

    async def unpin(request: Request, name: str) -> Response:
        """Let a model be parked when it is idle, whatever its entry says."""
        front.gate.require_control(request.scope)
        daemon.pin(name, pinned=False)
        return json_response(Done())

    handlers: tuple[Callable[..., object], ...] = (load, unload, park, wake, pin, unpin)
    for handler in handlers:
        app.add_api_route(
            f"/control/models/{{name:path}}/{handler.__name__}",
            handler,
            methods=["POST"],
            tags=["Control"],
            response_model=None,
            responses=reply_of(Done),
            openapi_extra=body_of(DrainBody) if handler is unload else None,
        )

"""POST /control/reload: models.yaml read again, while everything serves on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.auth import on_unix_socket
from aquahost.api.body import parse_model, read_body
from aquahost.api.errors import ForbiddenError
from aquahost.api.fields import ApiModel
from aquahost.api.front import Front
from aquahost.api.openapi import body_of, reply_of
from aquahost.api.replies import json_response
from aquahost.errors import InvalidRequestError
from aquahost.messages.reloaded import Reloaded


class ReloadBody(ApiModel):
    """Body of a reload; may be left out."""

    file: Annotated[str | None, Field(max_length=4096)] = None
    """Absolute path of another models.yaml, which is read from now on; on the Unix socket only."""


def add_config_control_routes(app: FastAPI, front: Front) -> None:
    """Add the route to `app`."""

    async def reload(request: Request) -> Response:
        """Read models.yaml again and do what has changed in it. A mistake in it is a 400 (code "invalid_config") with
        a line for each, and changes nothing. Models go on draining and loading after the reply."""
        front.gate.require_control(request.scope)
        body = await read_body(request, front.max_body_bytes)
        file = (parse_model(body, ReloadBody) if body.strip() else ReloadBody()).file
        if file is not None and not on_unix_socket(request.scope):
            # Whoever comes from elsewhere must not learn which files there are here.
            raise ForbiddenError("another file can be named on the daemon's Unix socket only")
        if file is not None and ("\0" in file or not Path(file).is_absolute()):
            raise InvalidRequestError("'file' must be an absolute path", param="file", code="invalid_value")
        return json_response(await front.daemon.configuration.reload(None if file is None else Path(file)))

    app.add_api_route(
        "/control/reload",
        reload,
        methods=["POST"],
        tags=["Control"],
        response_model=None,
        responses=reply_of(Reloaded),
        openapi_extra=body_of(ReloadBody),
    )

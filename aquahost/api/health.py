"""GET /healthz and /readyz, for process managers and load balancers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import FastAPI
from starlette.responses import Response

from aquahost.api.contract import Daemon
from aquahost.api.openapi import reply_of
from aquahost.api.replies import json_response


class HealthReply(msgspec.Struct, frozen=True):
    """ "ok" (200), or what is wrong (503)."""

    status: str
    problems: list[str]


def add_health_routes(app: FastAPI, daemon: Daemon) -> None:
    """Add both routes to `app`; neither needs a key."""

    async def healthz() -> Response:
        """Whether every worker that should run is alive."""
        return _answer(daemon.health, "unhealthy")

    async def readyz() -> Response:
        """Whether every model that should be loaded takes prompts."""
        return _answer(daemon.readiness, "not ready")

    for path, handler in (("/healthz", healthz), ("/readyz", readyz)):
        app.add_api_route(
            path, handler, methods=["GET"], tags=["Health"], response_model=None, responses=reply_of(HealthReply)
        )
        app.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False, response_model=None)


def _answer(problems: Callable[[], list[str]], bad: str) -> Response:
    found = problems()
    return json_response(HealthReply(bad if found else "ok", found), 503 if found else 200)

"""GET /healthz and /readyz, for process managers and load balancers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.front import Front
from aquahost.api.openapi import reply_of
from aquahost.api.replies import json_response


class HealthReply(msgspec.Struct, frozen=True):
    """ "ok" (200), or what is wrong (503)."""

    status: str
    problems: list[str]
    """Which models they are; [] for whoever has no key, and asks from another machine."""


def add_health_routes(app: FastAPI, front: Front) -> None:
    """Add both routes to `app`; neither needs a key."""
    daemon = front.daemon

    def answer(request: Request, problems: Callable[[], list[str]], bad: str) -> Response:
        found = problems()
        shown = found if front.gate.may_watch(request.scope) else []
        return json_response(HealthReply(bad if found else "ok", shown), 503 if found else 200)

    async def healthz(request: Request) -> Response:
        """Whether every worker that should run is alive."""
        return answer(request, daemon.health, "unhealthy")

    async def readyz(request: Request) -> Response:
        """Whether every model that should be loaded takes prompts."""
        return answer(request, daemon.readiness, "not ready")

    for path, handler in (("/healthz", healthz), ("/readyz", readyz)):
        app.add_api_route(
            path, handler, methods=["GET"], tags=["Health"], response_model=None, responses=reply_of(HealthReply)
        )
        app.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False, response_model=None)

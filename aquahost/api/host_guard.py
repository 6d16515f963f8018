"""The first thing every request meets."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from aquahost.api.auth import Gatekeeper
from aquahost.api.errors import ForbiddenError, error_response


class HostGuard:
    """ASGI middleware that refuses requests by foreign host names, whatever their route."""

    def __init__(self, app: ASGIApp, gate: Gatekeeper) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._gate.refuse_foreign_names(scope)
        except ForbiddenError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

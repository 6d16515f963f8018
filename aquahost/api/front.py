"""What every family of routes is given: the daemon, and who may ask it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from aquahost.api.auth import Gatekeeper
from aquahost.api.body import read_model
from aquahost.api.contract import Daemon
from aquahost.api.rate_limits import RateLimits

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The parts that handlers share."""

    daemon: Daemon
    gate: Gatekeeper
    rates: RateLimits
    max_body_bytes: int

    async def admit(self, request: Request, model: type[M]) -> tuple[str, M]:
        """Who asks, and what; raises RequestError. A stranger's body is not read, nor one too many of a tenant's."""
        tenant = self.gate.tenant(request.scope)
        self.rates.of(tenant).spend_request()
        return tenant, await read_model(request, model, self.max_body_bytes)

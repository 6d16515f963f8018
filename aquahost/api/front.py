"""What every family of routes is given: the daemon, and who may ask it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from aquahost.api.auth import Gatekeeper
from aquahost.api.body import read_model
from aquahost.api.contract import Daemon
from aquahost.api.fields import PromptBody
from aquahost.api.rate_limits import RateLimits
from aquahost.daemon.unknown_model import unknown_model
from aquahost.keys.keyring import Holder

M = TypeVar("M", bound=PromptBody)
B = TypeVar("B", bound=BaseModel)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The parts that handlers share."""

    daemon: Daemon
    gate: Gatekeeper
    rates: RateLimits
    max_body_bytes: int

    async def admit(self, request: Request, model: type[M]) -> tuple[str, M]:
        """Who asks for a prompt, and what; raises RequestError, also for a model that is not theirs."""
        holder, body = await self.read(request, model)
        self.require_model(holder, body.model)
        if self.daemon.settings.host.log_prompts:
            logger.info("%s asks: %s", holder.tenant, body.model_dump_json(exclude_none=True))
        return holder.tenant, body

    async def read(self, request: Request, model: type[B]) -> tuple[Holder, B]:
        """Who asks, and what; raises RequestError. A stranger's body is not read, nor one too many of a tenant's."""
        holder = self.gate.holder(request.scope)
        self.rates.of(holder.tenant).spend_request()
        return holder, await read_model(request, model, self.max_body_bytes)

    def require_model(self, holder: Holder, name: str) -> None:
        """Raise UnknownModelError for a model that is not `holder`'s to use, in the words for one that does not exist,
        so that nobody learns of others' models. Whoever may use all learns of one that does not exist by using it."""
        if holder.models is not None and name not in (known := self.models_of(holder)):
            raise unknown_model(name, known)

    def models_of(self, holder: Holder) -> list[str]:
        """Names of the hosted models that `holder` may use, in the order of models.yaml."""
        return [name for name in self.daemon.settings.models if holder.may_use(name)]

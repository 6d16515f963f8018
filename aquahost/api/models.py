"""GET /v1/models: what is hosted."""

from __future__ import annotations

import time

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from aquahost.api.front import Front
from aquahost.api.openapi import reply_of
from aquahost.api.replies import json_response
from aquahost.errors import UnknownModelError
from aquahost.messages.snapshot import ModelView


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's model, with what we know beyond it. Why it failed is for the snapshot: a worker's last words may hold
    what someone has written."""

    id: str
    object: str = "model"
    created: int
    """When this daemon started, in seconds since 1970."""
    owned_by: str = "aquahost"
    kind: str
    """"llm", "image", "audio" or "toy"."""
    state: str
    """"unloaded", "loading", "ready", "draining" or "failed"."""
    max_context: int | None
    """Tokens of input and output together; null until loaded, or if it makes no text."""


class ModelList(msgspec.Struct, frozen=True):
    """All models."""

    data: list[ModelObject]
    object: str = "list"


def add_model_routes(app: FastAPI, front: Front) -> None:
    """Add both routes to `app`."""
    created = int(time.time())

    async def list_models(request: Request) -> Response:
        """All configured models that this key may use, loaded or not."""
        holder = front.gate.holder(request.scope)
        views = [view for view in front.daemon.snapshot().models if holder.may_use(view.name)]
        return json_response(ModelList([_described(view, created) for view in views]))

    async def get_model(request: Request, name: str) -> Response:
        """One model."""
        holder = front.gate.holder(request.scope)
        for view in front.daemon.snapshot().models:
            if view.name == name and holder.may_use(name):
                return json_response(_described(view, created))
        known = ", ".join(front.models_of(holder)) or "none"
        raise UnknownModelError(f"no model is named '{name[:200]}'; hosted: {known}")

    app.add_api_route(
        "/v1/models", list_models, methods=["GET"], tags=["OpenAI"], response_model=None, responses=reply_of(ModelList)
    )
    app.add_api_route(
        "/v1/models/{name:path}",
        get_model,
        methods=["GET"],
        tags=["OpenAI"],
        response_model=None,
        responses=reply_of(ModelObject),
    )


def _described(view: ModelView, created: int) -> ModelObject:
    return ModelObject(
        id=view.name,
        created=created,
        kind=view.kind,
        state=view.state.value,
        max_context=(view.footprint.max_context or None) if view.footprint else None,
    )

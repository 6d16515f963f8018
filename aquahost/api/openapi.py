"""The OpenAPI document: request bodies are validated by us and replies encoded by us, so both are described here."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from aquahost.api.errors import ErrorReply
from aquahost.api.prompt_headers import COMMENTS, PROMPT_ID, QUEUE, QUEUE_LENGTH
from aquahost.api.rate_limits import RATE_HEADERS

_REF = "#/components/schemas/"
_WHERE_LIMITED = "where models.yaml limits what the tenant may use in a minute."


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route whose JSON body is a `model`."""
    schema = model.model_json_schema(ref_template=_REF + "{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def prompts_of(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that makes prompts of a `model`: `body_of`, and the headers."""
    wish = {
        "name": COMMENTS,
        "in": "header",
        "required": False,
        "description": "Has a stream tell in comments how its prompts stand.",
        "schema": {"type": "string", "enum": [QUEUE]},
    }
    headers = {
        PROMPT_ID: _header("string", "Ids of the prompts, separated by commas; at most eight."),
        QUEUE_LENGTH: _header("integer", "Live prompts of the model at submission, these included."),
        **{f"x-ratelimit-{what}": _header("string", f"As OpenAI's; {_WHERE_LIMITED}") for what in RATE_HEADERS},
    }
    return {**body_of(model), "parameters": [wish], "responses": {"200": {"headers": headers}}}


def reply_of(reply: type[msgspec.Struct], *, stream: bool = False) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers with `reply`, or with server-sent events if so asked."""
    content: dict[str, Any] = {"application/json": {"schema": _struct_schema(reply)}}
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {200: {"description": "The reply.", "content": content}}


def install_openapi(app: FastAPI) -> None:
    """Have `app` publish schemas of all bodies and replies, and OpenAI's error instead of FastAPI's 422."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schemas: dict[str, Any] = {}
    failure = {"description": "A failure.", "content": {"application/json": {"schema": _struct_schema(ErrorReply)}}}
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = failure
            for content in _contents(operation):
                _hoist(content.get("schema", {}), schemas)
    document["components"] = {"schemas": dict(sorted(schemas.items()))}
    return document


def _header(kind: str, description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _struct_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), parts = msgspec.json.schema_components([struct], ref_template=_REF + "{name}")
    return {**reference, "$defs": parts}


def _contents(operation: dict[str, Any]) -> list[dict[str, Any]]:
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    return [content for body in bodies for content in body.get("content", {}).values()]


def _hoist(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Move a schema's definitions to where its references point."""
    schemas.update(schema.pop("$defs", {}))

"""A request's body: from bytes of unknown origin to a validated model, or an error that names the field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from aquahost.api.errors import BodyTooLargeError
from aquahost.api.prompts import ClientGoneError
from aquahost.errors import InvalidRequestError
from aquahost.units import format_bytes

M = TypeVar("M", bound=BaseModel)

UNION_TAG = "~"
"""First character of a union's tags, by which they are told from field names in an error's place."""


async def read_model(request: Request, model: type[M], max_bytes: int) -> M:
    """The request's JSON body as a `model`; raises InvalidRequestError or BodyTooLargeError."""
    body = await read_body(request, max_bytes)
    if not body.strip():
        raise InvalidRequestError("the body is empty; send a JSON object")
    _require_json_type(request.headers.get("content-type"))
    return parse_model(body, model)


async def read_body(request: Request, max_bytes: int) -> bytes:
    """All bytes of the body, counted as they come: Content-Length may lie or be missing.

    Raises BodyTooLargeError, and ClientGoneError if the client leaves half-way.
    """
    too_large = BodyTooLargeError(f"the body is larger than host.max_body_bytes ({format_bytes(max_bytes)})")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def parse_model(body: bytes, model: type[M]) -> M:
    """`body` as a `model`; raises InvalidRequestError."""
    try:
        value = msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply") from None
    except msgspec.MsgspecError as error:
        _name_bad_number(body, model)
        raise InvalidRequestError(f"the body is not valid JSON: {str(error).partition(' - at ')[0]}") from None
    return _validate(value, model)


def _require_json_type(content_type: str | None) -> None:
    """Refuse other media types: a web page can send those (and none) to any address without asking first."""
    message = Message()
    message["content-type"] = content_type or ""
    if message.get_content_maintype() == "application" and message.get_content_subtype().split("+")[-1] == "json":
        return
    raise InvalidRequestError("send the body with 'Content-Type: application/json'", code="unsupported_content_type")


def _validate(value: Any, model: type[M]) -> M:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be a JSON object, not {_json_name(value)}")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _first_error(error) from None
    except (OverflowError, RecursionError):
        raise InvalidRequestError("the body holds a number too large, or is nested too deeply") from None


def _name_bad_number(body: bytes, model: type[BaseModel]) -> None:
    """Raise the error of the field that holds NaN, Infinity or a number beyond 1.8e308, if that is what is wrong."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    _validate(value, model)


def _first_error(error: ValidationError) -> InvalidRequestError:
    details: Mapping[str, Any] = error.errors(include_url=False, include_input=True)[0]
    context = details.get("ctx", {})
    param = str(context.get("field", "")) or _param(details["loc"])
    kind, message = str(details["type"]), str(details["msg"])
    if kind == "missing":
        return InvalidRequestError(f"'{param}' is missing", param=param, code="missing_required_parameter")
    if kind == "unknown":
        param = _param((*details["loc"], context["name"]))
        message = f"'{param}' is not a field of this request{context['hint']}"
        return InvalidRequestError(message, param=param, code="unknown_parameter")
    if kind in ("unsupported", "misfit"):
        code = "unsupported_parameter" if kind == "unsupported" else "invalid_value"
        return InvalidRequestError(f"'{param}': {message}", param=param, code=code)
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
    if kind == "model_type":
        message = "input should be a JSON object"
    message = message[:1].lower() + message[1:].replace(" after validation", "")
    subject = f"'{param}': " if param else ""
    return InvalidRequestError(f"{subject}{message}{_got(details)}", param=param or None, code="invalid_value")


def _param(loc: Sequence[int | str]) -> str:
    """A place as OpenAI writes it: messages[0].content."""
    text = ""
    for item in loc:
        if isinstance(item, int):
            text += f"[{item}]"
        elif not item.startswith(UNION_TAG):
            text += f".{item}" if text else item
    return text if len(text) <= 200 else text[:200] + "…"


def _got(details: Mapping[str, Any]) -> str:
    """The value at fault where it is short enough to help; never prompt text."""
    value = details["input"]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**20):
        return f" (got {json.dumps(value)})"
    if isinstance(value, str) and len(value) <= 32 and details["type"] == "literal_error":
        return f" (got {json.dumps(value)})"
    return ""


def _json_name(value: Any) -> str:
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return "a string"
    return json.dumps(value)[:40]

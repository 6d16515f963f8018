"""Every failure as OpenAI's error object with the right status; nothing is ever answered with 422."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aquahost.errors import AquahostError, RequestError, UnknownModelError, UnknownPromptError
from aquahost.log_privacy import OF_PROMPT
from aquahost.messages.prompts import ErrorDetail

log = logging.getLogger(__name__)

CANCELLED_STATUS = 499
"""The prompt was cancelled by someone else; nginx's and gRPC's number for it, which no client retries."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's error: what went wrong, in which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(msgspec.Struct, frozen=True):
    """Body of every failed request, and the last event of a failed stream."""

    error: ErrorObject


class BodyTooLargeError(RequestError):
    """The request's body is larger than host.max_body_bytes (413)."""

    status = 413


class UnauthorizedError(RequestError):
    """The API key is missing or wrong (401)."""

    status = 401
    type = "authentication_error"


class ForbiddenError(RequestError):
    """Not to be had over this connection (403)."""

    status = 403
    type = "permission_error"


class CancelledPromptError(RequestError):
    """The prompt was cancelled while its client waited (499)."""

    status = CANCELLED_STATUS
    type = "cancelled_error"


class RateLimitedError(RequestError):
    """The tenant has used up what it may use in a minute (429); `headers` tell how it stands."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after_s: float, headers: Mapping[str, str]) -> None:
        super().__init__(message, code="rate_limit_exceeded", retry_after_s=retry_after_s)
        self.headers = headers


def failed_prompt(detail: ErrorDetail | None) -> RequestError:
    """The error of a prompt that ended with Finished(ERROR)."""
    detail = detail or ErrorDetail(message="the prompt failed; see `aquahost logs`")
    error = RequestError(
        detail.message,
        param=detail.param,
        code=detail.code,
        status=detail.status,
        retry_after_s=detail.retry_after_s,
    )
    error.type = detail.type
    return error


def error_body(error: RequestError) -> bytes:
    """The error as OpenAI's JSON."""
    param, code = error.param, error.code
    if isinstance(error, UnknownModelError):
        param, code = param or "model", code or "model_not_found"
    elif isinstance(error, UnknownPromptError):
        code = code or "prompt_not_found"
    return msgspec.json.encode(
        ErrorReply(ErrorObject(message=_printable(error.message), type=error.type, param=param, code=code))
    )


def error_response(error: RequestError, more: Mapping[str, str] | None = None) -> Response:
    """The error as an HTTP reply, with `more` headers."""
    headers = dict(more or {})
    if isinstance(error, RateLimitedError):
        headers |= error.headers
    if error.queue_length is not None:
        headers["x-aquahost-queue-length"] = str(error.queue_length)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(error_body(error), error.status, headers, media_type="application/json")


def install_error_handlers(app: FastAPI) -> None:
    """Have `app` answer every exception in OpenAI's shape."""
    app.add_exception_handler(AquahostError, _on_aquahost_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_parameter)
    app.add_exception_handler(Exception, _on_bug)


async def _on_aquahost_error(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return error_response(error)
    return error_response(_server_error(str(error)))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    message = str(error.detail)
    if status == 404:
        message = f"no route {request.method} {request.scope['path']}; GET /docs lists them"
    elif status == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.scope['path']} does not take {request.method}; use {allowed}"
    failure = RequestError(message, status=status, code={404: "route_not_found"}.get(status))
    failure.type = _TYPES.get(status, "invalid_request_error")
    response = error_response(failure)
    for name, value in (error.headers or {}).items():
        response.headers.setdefault(name, value)
    return response


async def _on_invalid_parameter(_: Request, error: Exception) -> Response:
    """A path or query parameter of the wrong type; bodies are validated by `body`."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    name = str(first["loc"][-1])
    return error_response(RequestError(f"{name}: {first['msg']}", param=name))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.scope.get("path"), exc_info=error, extra=OF_PROMPT)
    return error_response(_server_error("the daemon failed to answer this request; its log says why"))


def _server_error(message: str) -> RequestError:
    error = RequestError(message, status=500)
    error.type = "server_error"
    return error


def _printable(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 reply can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")

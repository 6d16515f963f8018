"""The HTTP client of a running daemon that CLI and terminal UI share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from aquahost.config.paths import socket_path
from aquahost.errors import (
    InvalidRequestError,
    ModelUnavailableError,
    QueueFullError,
    RequestError,
    UnknownModelError,
    UnknownPromptError,
    UnreachableError,
)
from aquahost.events import Event
from aquahost.messages.snapshot import Snapshot
from aquahost.streamed import Choice, MediaEvent, TextChunk, Usage, sse_data

T = TypeVar("T")
E = TypeVar("E", TextChunk, MediaEvent)

_ANSWER_TIMEOUT_S = 10.0
_PROMPT_ID = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SOCKET_PATH = 107
"""Bytes that Linux allows in the path of a Unix socket."""


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Newly produced text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEnd:
    """A reply is complete."""

    finish_reason: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """An image or a sound has come one step further."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Media:
    """A finished image or sound, as the bytes of a file."""

    data: bytes


class Client:
    """Asks one daemon; every method raises UnreachableError if none answers, and RequestError with the API's words.

    Generators hold a connection: closing one cancels its prompt.
    """

    def __init__(
        self,
        socket: Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> None:
        self._socket = socket or socket_path()
        if transport is None:
            if len(str(self._socket).encode()) > _MAX_SOCKET_PATH:
                raise UnreachableError(
                    f"the socket's path is too long ({self._socket}); set AQUAHOST_SOCKET to a shorter one"
                )
            transport = httpx.HTTPTransport(uds=str(self._socket), verify=False)
        self._timeout_s = timeout_s
        self._http = httpx.Client(transport=transport, base_url="http://aquahost", timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    # -- control ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything at this instant."""
        return _decoded(self._ask("GET", "/control/snapshot").content, Snapshot)

    def events(self, after_seq: int = 0) -> Iterator[Event]:
        """Events numbered above `after_seq`, then new ones as they happen, until the daemon ends."""
        with self._stream("GET", "/control/events", params={"after": after_seq}) as reply:
            for data in sse_data(reply.iter_bytes()):
                yield _decoded(data, Event)

    def load(self, name: str) -> None:
        """Start loading a model; returns at once."""
        self._ask("POST", f"/control/models/{_quoted(name)}/load")

    def unload(self, name: str, drain_s: float) -> None:
        """Unload a model, giving its prompts `drain_s` to end; returns when it is unloaded, or at once."""
        self._ask("POST", f"/control/models/{_quoted(name)}/unload", body={"drain_s": drain_s}, timeout_s=drain_s + 60)

    def cancel(self, prompt_id: str) -> None:
        """Cancel a live prompt; raises RequestError (404) if there is none of that id."""
        if not _PROMPT_ID.fullmatch(prompt_id):
            raise UnknownPromptError(f"no live prompt {prompt_id!r}; see `aquahost queue`")
        self._ask("POST", f"/control/prompts/{prompt_id}/cancel")

    def shutdown(self, drain_s: float) -> None:
        """Ask for the daemon's end; returns before it has ended."""
        self._ask("POST", "/control/shutdown", body={"drain_s": drain_s})

    def logs(self, model: str | None, *, lines: int, follow: bool) -> Iterator[str]:
        """The log's text from its last `lines` lines on; of the daemon where `model` is None."""
        params: dict[str, Any] = {"lines": lines, "follow": str(follow).lower()}
        if model is not None:
            params["model"] = _text(model)
        with self._stream("GET", "/control/logs", params=params) as reply:
            yield from reply.iter_text()

    # -- prompts ---------------------------------------------------------------------------------------------

    def chat(self, model: str, messages: list[dict[str, str]], **options: Any) -> Iterator[TextPiece | TextEnd]:
        """Stream a reply to a conversation. `options` are fields of the API's body; None leaves one out."""
        body = {"model": model, "messages": messages, **options}
        return self._reply("/v1/chat/completions", body, lambda choice: choice.delta.content)

    def complete(self, model: str, text: str, **options: Any) -> Iterator[TextPiece | TextEnd]:
        """Stream the continuation of `text`, without a chat template."""
        return self._reply("/v1/completions", {"model": model, "prompt": text, **options}, lambda choice: choice.text)

    def image(self, model: str, text: str, **options: Any) -> Iterator[StepDone | Media]:
        """Make images: progress, then each image's file."""
        body = {"model": model, "prompt": text, "stream": True, "response_format": "b64_json", **options}
        for event in self._events("/v1/images/generations", body, MediaEvent):
            if event.type == "image_generation.progress":
                yield StepDone(step=event.step, steps=event.steps)
            elif event.type == "image_generation.completed":
                yield Media(event.b64_json)

    def audio(self, model: str, text: str, **options: Any) -> Iterator[StepDone | Media]:
        """Make a sound: progress, then the sound's file."""
        sound = bytearray()
        body = {"model": model, "input": text, "stream_format": "sse", **options}
        for event in self._events("/v1/audio/speech", body, MediaEvent):
            match event.type:
                case "speech.audio.progress":
                    yield StepDone(step=event.step, steps=event.steps)
                case "speech.audio.delta":
                    sound += event.audio
                case "speech.audio.done":
                    yield Media(bytes(sound))

    def _reply(
        self, path: str, body: dict[str, Any], text_of: Callable[[Choice], str | None]
    ) -> Iterator[TextPiece | TextEnd]:
        reason = "stop"
        usage = Usage()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        for chunk in self._events(path, streamed, TextChunk):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                if text := text_of(choice):
                    yield TextPiece(text)
        yield TextEnd(finish_reason=reason, input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)

    # -- wire ------------------------------------------------------------------------------------------------

    def _events(self, path: str, body: dict[str, Any], kind: type[E]) -> Iterator[E]:
        """The events of a prompt; raises the error of one that fails on the way."""
        given = {key: value for key, value in body.items() if value is not None}
        with self._stream("POST", path, body=given) as reply:
            for data in sse_data(reply.iter_bytes()):
                if data == b"[DONE]":
                    return
                event = _decoded(data, kind)
                if event.error is not None:
                    raise _error_within(event.error)
                yield event

    def _ask(self, method: str, path: str, *, body: Any = None, timeout_s: float | None = None) -> httpx.Response:
        with self._reachable():
            reply = self._http.request(method, path, json=body, timeout=timeout_s or self._timeout_s)
        _raise_for(reply)
        return reply

    @contextmanager
    def _stream(self, method: str, path: str, *, body: Any = None, params: Any = None) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(None, connect=self._timeout_s)
        with (
            self._reachable(),
            self._http.stream(method, path, json=body, params=params, timeout=timeout) as reply,
        ):
            if reply.is_error:
                reply.read()
                _raise_for(reply)
            yield reply

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Turns failures of the connection into UnreachableError."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(f"no daemon answers at {self._socket}; start one with: aquahost up -d") from error
        except httpx.TimeoutException as error:
            raise UnreachableError(f"the daemon at {self._socket} does not answer; look into: aquahost logs") from error
        except httpx.TransportError as error:
            raise UnreachableError("the daemon closed the connection; look into: aquahost logs") from error


def _text(argument: str) -> str:
    """An argument as text; what it holds that is no UTF-8 (lone surrogates) becomes "?", which no name has."""
    return argument.encode(errors="replace").decode()


def _quoted(name: str) -> str:
    return quote(_text(name), safe="/:")


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RequestError(f"the daemon is of another version; restart it ({error})", status=500) from error


_ERRORS: Mapping[int, type[RequestError]] = {
    400: InvalidRequestError,
    429: QueueFullError,
    503: ModelUnavailableError,
}
_STATUS_OF_TYPE = {"invalid_request_error": 400, "rate_limit_error": 429, "service_unavailable_error": 503}
"""For errors within a stream, which come after the reply's status."""


def _raise_for(reply: httpx.Response) -> None:
    if not reply.is_error:
        return
    with suppress(ValueError):
        raise _error(reply.status_code, reply.json(), reply.headers)
    raise _error(reply.status_code, {}, reply.headers)


def _error_within(details: Any) -> RequestError:
    """The API's error object in the midst of a stream."""
    kind = details.get("type") if isinstance(details, dict) else None
    return _error(_STATUS_OF_TYPE.get(str(kind), 500), {"error": details}, {})


def _error(status: int, body: Any, headers: Mapping[str, str]) -> RequestError:
    """The API's error object as an exception."""
    details = body.get("error") if isinstance(body, dict) else None
    details = details if isinstance(details, dict) else {}
    code = details.get("code")
    kind = UnknownModelError if code == "model_not_found" else _ERRORS.get(status, RequestError)
    retry_after = headers.get("retry-after", "")
    error = kind(
        str(details.get("message") or f"the daemon answered with status {status}"),
        param=details.get("param"),
        code=code,
        status=status,
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )
    error.type = str(details.get("type") or error.type)
    return error

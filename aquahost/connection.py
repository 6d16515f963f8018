"""HTTP to a running daemon: replies, streams, and every failure as an error of ours."""

from __future__ import annotations

import socket as sockets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from aquahost.errors import (
    InvalidRequestError,
    ModelStateError,
    ModelUnavailableError,
    QueueFullError,
    RequestError,
    UnknownJobError,
    UnknownModelError,
    UnknownPromptError,
    UnreachableError,
)

T = TypeVar("T")

_MAX_SOCKET_PATH = 107
"""Bytes that Linux allows in the path of a Unix socket."""


class Connection:
    """Asks one daemon; every method raises UnreachableError if none answers, and RequestError with the API's words."""

    def __init__(self, socket: Path, transport: httpx.BaseTransport | None, timeout_s: float) -> None:
        """`transport`: in the place of the socket. `timeout_s`: how long an answer may take."""
        self._socket = socket
        if transport is None:
            if len(str(socket).encode()) > _MAX_SOCKET_PATH:
                raise UnreachableError(
                    f"the socket's path is too long ({socket}); set AQUAHOST_SOCKET to a shorter one"
                )
            transport = httpx.HTTPTransport(uds=str(socket), verify=False)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._sockets: list[sockets.socket] = []
        self._is_interrupted = False
        self._http = httpx.Client(transport=transport, base_url="http://aquahost", timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def interrupt(self) -> None:
        """Cut the connections, from any thread: whoever waits for the daemon at that moment gets UnreachableError.

        Closing alone does not wake a thread that reads, nor does the daemon hear of it.
        """
        with self._lock:
            self._is_interrupted = True
            for connected in self._sockets:
                _cut(connected)

    def ask(self, method: str, path: str, *, body: Any = None, timeout_s: float | None = None) -> httpx.Response:
        """The whole reply."""
        with self._reachable():
            reply = self._http.request(
                method, path, json=body, timeout=timeout_s or self._timeout_s, extensions=self._extensions()
            )
        _raise_for(reply)
        return reply

    @contextmanager
    def stream(
        self, method: str, path: str, *, body: Any = None, params: Any = None, silence_s: float | None = None
    ) -> Iterator[httpx.Response]:
        """A reply as it comes, however long that takes; with `silence_s`, one that says nothing for so long has
        failed."""
        timeout = httpx.Timeout(None, connect=self._timeout_s, read=silence_s)
        with (
            self._reachable(),
            self._http.stream(
                method, path, json=body, params=params, timeout=timeout, extensions=self._extensions()
            ) as reply,
        ):
            if reply.is_error:
                reply.read()
                _raise_for(reply)
            yield reply

    def _extensions(self) -> dict[str, Any]:
        return {"trace": self._note_socket}

    def _note_socket(self, step: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of each connection that httpcore tells of, to be able to cut it."""
        if step != "connection.connect_unix_socket.complete":
            return
        connected = info["return_value"].get_extra_info("socket")
        with self._lock:
            self._sockets = [known for known in self._sockets if known.fileno() >= 0] + [connected]
            if self._is_interrupted:
                _cut(connected)

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


def _cut(connected: sockets.socket) -> None:
    with suppress(OSError):  # closed already
        connected.shutdown(sockets.SHUT_RDWR)


def decoded(data: bytes, kind: type[T]) -> T:
    """`data` as a `kind`. Raises RequestError if it is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RequestError(f"the daemon is of another version; restart it ({error})", status=500) from error


_ERRORS: Mapping[int, type[RequestError]] = {
    400: InvalidRequestError,
    409: ModelStateError,
    429: QueueFullError,
    503: ModelUnavailableError,
}
_ERRORS_BY_CODE: Mapping[str, type[RequestError]] = {
    "model_not_found": UnknownModelError,
    "prompt_not_found": UnknownPromptError,
    "job_not_found": UnknownJobError,
}
_STATUS_OF_TYPE = {"invalid_request_error": 400, "rate_limit_error": 429, "service_unavailable_error": 503}
"""For errors within a stream, which come after the reply's status."""


def _raise_for(reply: httpx.Response) -> None:
    if not reply.is_error:
        return
    with suppress(ValueError):
        raise _error(reply.status_code, reply.json(), reply.headers)
    raise _error(reply.status_code, {}, reply.headers)


def error_within(details: Any) -> RequestError:
    """The API's error object in the midst of a stream."""
    kind = details.get("type") if isinstance(details, dict) else None
    return _error(_STATUS_OF_TYPE.get(str(kind), 500), {"error": details}, {})


def _error(status: int, body: Any, headers: Mapping[str, str]) -> RequestError:
    """The API's error object as an exception."""
    details = body.get("error") if isinstance(body, dict) else None
    details = details if isinstance(details, dict) else {}
    code = details.get("code")
    kind = _ERRORS_BY_CODE.get(str(code)) or _ERRORS.get(status, RequestError)
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

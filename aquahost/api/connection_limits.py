"""What a client's connection may cost: how long it may take, how much it may say, how many there may be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from aquahost.api.errors import error_body
from aquahost.config.settings import HostSettings
from aquahost.errors import RequestError

LEAST_BYTES_PER_S = 500
"""A request's body that comes slower, and a reply that is read slower, is not waited for. Over TLS a reply has to be
read about four times as fast: progress shows there in steps of up to 100 KiB."""
MOST_PLAIN_BYTES = 64 * 1024
"""Most bytes of a request in a row that are not its body: its head, trailers, or chunks' extensions."""
DOORWAY = 128
"""Connections beyond the most that are told so; yet others are closed without a word."""
DOOR_S = 1.0
"""How long such a client may take to read what it is told."""
RETRY_S = 5.0


class Cut(StrEnum):
    """Why a connection was ended, or not let in."""

    NO_ROOM = "no_room"
    LATE = "late"
    """Its handshake or its request did not come in time, or nothing at all came."""
    LONG_HEAD = "long_head"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one listener's connections."""

    max_connections: int = 16_384
    """Beyond which clients are refused; connections over the Unix socket are counted, and never refused."""
    request_timeout_s: float = 20.0
    """Time for a request's head, and for its body beyond what it takes at LEAST_BYTES_PER_S."""
    max_body_bytes: int = 8 << 20
    """No body gains more time than so many bytes take."""
    unread_timeout_s: float = 60.0
    """A client that takes less of its reply in this time than LEAST_BYTES_PER_S is cut off."""

    @classmethod
    def of(cls, host: HostSettings, max_connections: int) -> ConnectionLimits:
        """What models.yaml says, with no more connections than this process can have."""
        return cls(
            max_connections=max_connections,
            request_timeout_s=host.request_timeout_s,
            max_body_bytes=host.max_body_bytes,
            unread_timeout_s=host.unread_timeout_s,
        )

    def body_due_s(self, began_s: float, heard_s: float, body_bytes: int) -> float:
        """When a body is late that began to come at `began_s`, and of which `body_bytes` have come, at `heard_s` the
        last of them: it may pause for `request_timeout_s`, and be as slow as LEAST_BYTES_PER_S."""
        slowest_s = min(body_bytes, self.max_body_bytes) / LEAST_BYTES_PER_S
        return self.request_timeout_s + min(heard_s, began_s + slowest_s)

    def is_reading(self, unread_before: int, unread_bytes: int) -> bool:
        """Whether a client to which nothing new was written for `unread_timeout_s` has read enough meanwhile."""
        return unread_before - unread_bytes >= LEAST_BYTES_PER_S * self.unread_timeout_s or unread_bytes == 0


def late_request(timeout_s: float) -> bytes:
    """The reply to a request that does not come to its end."""
    return _raw_reply(
        RequestError(
            f"the request did not come within {timeout_s:g} s (host.request_timeout_s); its body may take longer, "
            f"at {LEAST_BYTES_PER_S} bytes/s",
            status=408,
            code="request_timeout",
        )
    )


def long_head() -> bytes:
    """The reply to a request whose head is too long."""
    return _raw_reply(
        RequestError(f"the request's head is longer than {MOST_PLAIN_BYTES} bytes", status=431, code="head_too_long")
    )


def no_room() -> bytes:
    """The reply to a client for whose connection there is no room."""
    error = RequestError(
        "too many connections (host.max_connections); try again later", status=503, code="too_many_connections"
    )
    error.type = "service_unavailable_error"
    return _raw_reply(error, f"Retry-After: {RETRY_S:.0f}\r\n")


def _raw_reply(error: RequestError, more: str = "") -> bytes:
    """A whole reply that closes the connection, for what never becomes a request."""
    body = error_body(error)
    status = HTTPStatus(error.status)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body

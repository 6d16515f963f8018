"""HTTP connections that slow, silent and hostile clients cannot keep for long."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any, ClassVar

from uvicorn import Config
from uvicorn.server import ServerState

from aquahost.api.connection_limits import (
    DOOR_S,
    DOORWAY,
    MOST_PLAIN_BYTES,
    ConnectionLimits,
    Cut,
    late_request,
    long_head,
    no_room,
)
from aquahost.api.http_protocol import ApiHttpProtocol
from aquahost.api.reply_pieces import PIECE_BYTES


class BoundedHttpProtocol(ApiHttpProtocol):
    """A connection that ends once its client breaks a limit.

    - A request has to come whole, and in time, else 408; a body whose request has been answered already, too. uvicorn's
      own timer is for connections between requests, and any byte stops it.
    - A reply has to be read. Until then it lies in memory, and closing a connection waits for what is not sent.
    - Beyond the most connections a client is told so at the door, with 503. The Unix socket is its owner's, and he may
      come in at any time, and look on as slowly as he likes.
    """

    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    cut: ClassVar[Counter[str]] = Counter()
    """Of the connections that were ended, how many for which reason."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._is_owners = False
        self._is_refused = False
        self._request_timer: asyncio.TimerHandle | None = None
        """Runs while a request is to come, or has come in part."""
        self._unread_timer: asyncio.TimerHandle | None = None
        """Runs while nothing can be written, or a reply's end is not sent."""
        self._began_s = 0.0
        """When the part of the request that is coming, head or body, began, or its reply ended before it."""
        self._heard_s = 0.0
        """When the last of the body came."""
        self._in_body = False
        self._body_bytes = 0
        self._plain_bytes = 0
        """Since the last byte of the body."""
        self._unread_before = 0
        """Bytes that were not read when the timer began."""

    # -- the door ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a client in, or tell it that there is no room."""
        super().connection_made(transport)
        self._is_owners = transport.get_extra_info("socket").family == socket.AF_UNIX
        if transport.get_extra_info("sslcontext") is not None:
            # Of what is in the buffers of TLS, and below them, nobody can tell how much has been read.
            transport.set_write_buffer_limits(high=PIECE_BYTES)
        if self._is_owners or len(self.connections) <= self.limits.max_connections:
            self._await_request()
        else:
            self._refuse()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_request_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn forgets where the connection failed

    def _refuse(self) -> None:
        self._is_refused = True
        self.cut[Cut.NO_ROOM] += 1
        if len(self.connections) > self.limits.max_connections + DOORWAY:
            self.transport.abort()
            return
        self.transport.write(no_room())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        # Closed at once, with a request of the client unread, the reply would be lost on it.
        self._request_timer = self.loop.call_later(DOOR_S, self.transport.abort)

    # -- requests ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take in bytes from the client."""
        if self._is_refused:
            return
        body_bytes = self._body_bytes
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_message:
            if self._body_bytes == body_bytes:
                self._plain_bytes += len(data)
                if self._plain_bytes > MOST_PLAIN_BYTES:
                    self.cut[Cut.LONG_HEAD] += 1
                    self._end_with(long_head())
                    return
            self._await_request()
        elif self._answering:
            self._stop_request_timer()
        elif self.timeout_keep_alive_task is None:
            # Empty lines before a request, or the end of one that has been answered before it came.
            self._await_request()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_body, self._body_bytes, self._plain_bytes = False, 0, 0

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_body = True
        self._began_s = self._heard_s = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._body_bytes += len(body)
        self._plain_bytes = 0
        self._heard_s = self.loop.time()
        super().on_body(body)

    def on_response_complete(self) -> None:
        """A reply has been written; part of it may not be sent, and of its request more may come."""
        super().on_response_complete()
        self._began_s = self.loop.time()
        self._stop_unread_timer()
        if self.transport.get_write_buffer_size():
            self._await_reading()

    def _await_request(self) -> None:
        if self._request_timer is None:
            if not (self._in_message and self._in_body):
                self._began_s = self.loop.time()
            self._request_timer = self.loop.call_at(self._due_s(), self._look_at_request)

    def _due_s(self) -> float:
        if self._in_message and self._in_body and self._answering:
            return self.limits.body_due_s(self._began_s, self._heard_s, self._body_bytes)
        return self._began_s + self.limits.request_timeout_s

    def _look_at_request(self) -> None:
        self._request_timer = None
        due_s = self._due_s()
        if self.loop.time() < due_s:
            self._request_timer = self.loop.call_at(due_s, self._look_at_request)
        else:
            self.cut[Cut.LATE] += 1
            self._end_with(late_request(self.limits.request_timeout_s) if self._in_message else b"")

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _end_with(self, reply: bytes) -> None:
        """Close, after `reply` where there is room for one: nothing has been answered."""
        cycle = self.cycle
        begun = cycle is not None and self._in_body and self._in_message
        if begun and cycle.response_started:
            self.transport.abort()
            return
        if begun:
            cycle.disconnected = True  # whoever reads the request is told so, and writes nothing any more
            cycle.message_event.set()
        self.transport.write(reply)
        self.transport.close()
        self._await_reading()

    # -- replies -----------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """More lies unsent than should."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """The client reads."""
        self._stop_unread_timer()
        super().resume_writing()

    def _await_reading(self) -> None:
        self._stop_unread_timer()
        if not self._is_owners:
            self._unread_before = self._unread_bytes()
            self._unread_timer = self.loop.call_later(self.limits.unread_timeout_s, self._look_at_reading)

    def _look_at_reading(self) -> None:
        self._unread_timer = None
        if not self.limits.is_reading(self._unread_before, self._unread_bytes()):
            self.cut[Cut.UNREAD] += 1
            self.transport.abort()
        elif self.transport.get_write_buffer_size():
            self._await_reading()

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None


def bounded_protocol(limits_of_connections: ConnectionLimits) -> type[BoundedHttpProtocol]:
    """The protocol of connections with these limits, as uvicorn's `http` takes it, with a count of its own."""

    class Protocol(BoundedHttpProtocol):
        limits = limits_of_connections
        cut: ClassVar[Counter[str]] = Counter({why.value: 0 for why in Cut})

    return Protocol

"""HTTP/1.1 as uvicorn speaks it, but for pipelining and offers of another protocol."""

from __future__ import annotations

import fcntl
import re
import termios
from array import array

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNREAD = "aquahost.unread"
"""The ASGI extension whose "bytes" tells how much of the reply lies in buffers, for all this side knows."""
_OFFER = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class SecondRequestError(Exception):
    """Bytes of another request have come while the connection's first one is being answered."""


class ApiHttpProtocol(HttpToolsProtocol):
    """A connection that takes one request at a time, so that it is always read and its end is always seen.

    uvicorn queues pipelined requests and stops reading: a client that leaves then goes unnoticed, and its prompts run
    on for nobody. Here whatever follows a request that is still being answered (browsers and HTTP libraries send
    nothing) ends the connection, and the first request with it.

    An offer of another protocol (HTTP/2 by Java's client and `curl --http2`) is passed over, as RFC 9110 7.8 allows:
    the parser would take the request's body for that protocol's bytes. Where the head comes in pieces that still
    happens, and the request is refused for its empty body.
    """

    _in_message = False
    """From a request's first byte to its last: what comes then is never changed, or the connection lost its framing."""

    def data_received(self, data: bytes) -> None:
        """Take in bytes from the client."""
        if not self._in_message:
            head, end, body = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(b"", head) + end + body
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request, or have the parser fail."""
        if self._answering:
            raise SecondRequestError
        self._in_message = True
        super().on_message_begin()
        self.scope["extensions"] = {UNREAD: {"bytes": self._unread_bytes}}

    def on_message_complete(self) -> None:
        """The request has come whole."""
        self._in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed. In the midst of a reply there is no room for another: end the connection."""
        if self._answering:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def _unread_bytes(self) -> int:
        """What the client has not read yet, on a Unix socket; over TCP, what its system has not acknowledged."""
        waiting = array("i", [0])
        try:
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        except (OSError, ValueError):  # it is closed, or was before there was anything to ask
            return 0
        return waiting[0] + self.transport.get_write_buffer_size()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

"""The worker's end of the socket to the daemon."""

from __future__ import annotations

import msgspec
import zmq

from aquahost.messages.wire import FromWorker, ToWorker

LINGER_MS = 2000
"""How long `close` waits for messages not yet sent."""


class DaemonLink:
    """A DEALER socket that belongs to one thread. Nothing is dropped: the daemon's queues bound what is in flight."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, identity: bytes) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, identity)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.connect(endpoint)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)

    def send(self, message: FromWorker) -> None:
        """Hand the message over; does not block."""
        self._socket.send(self._encoder.encode(message))

    def receive(self, timeout_s: float) -> list[ToWorker]:
        """All messages there are; waits for the first one at most this long."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return []
        messages: list[ToWorker] = []
        while True:
            try:
                messages.append(self._decoder.decode(self._socket.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return messages

    def close(self) -> None:
        """Close the socket; what is not yet sent still goes out."""
        self._socket.close()

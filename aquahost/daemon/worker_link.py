"""The daemon's end of the socket to all workers, on the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
import zmq

from aquahost.messages.wire import FromWorker, ToWorker
from aquahost.worker.spec import voice_identity, worker_of

logger = logging.getLogger(__name__)

MOST_A_TURN = 64
"""Messages taken in one turn of the event loop, so that a flood of outputs does not starve the HTTP side."""


class WorkerLink:
    """One ROUTER socket; `on_message(worker_id, message)` is called in the loop's thread for each message.

    A plain socket watched through its file descriptor, which costs a fraction of what zmq.asyncio does. The descriptor
    is edge-triggered: it tells of *a change*, so the socket must be drained before waiting again, and looked at after
    each send, which may swallow an edge.
    """

    def __init__(self, endpoint: str, on_message: Callable[[int, FromWorker], None]) -> None:
        self.endpoint = endpoint
        self.faults: list[str] = []
        """Of the daemon itself, in handling messages: anything here means that it must be restarted."""
        self._on_message = on_message
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
        self._socket: zmq.Socket[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again = False

    def start(self) -> None:
        """Bind and listen. Raises zmq.ZMQError if the endpoint cannot be bound."""
        self._loop = asyncio.get_running_loop()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(self.endpoint)
        self._loop.add_reader(self._socket.fileno(), self._drain)
        self._look_again()

    def send(self, worker_id: int, message: ToWorker) -> bool:
        """Hand `message` to a worker; False if it is gone, whose end the supervisor then learns by itself."""
        if self._socket is None:
            return False
        try:
            self._socket.send_multipart((voice_identity(worker_id), self._encoder.encode(message)), zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.debug("worker %d is not reachable: %s", worker_id, error)
            return False
        self._look_again()
        return True

    def close(self) -> None:
        """Stop listening; what was not read is lost."""
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._context.term()

    def _look_again(self) -> None:
        if not self._again and self._loop is not None:
            self._again = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._again = False
        for _ in range(MOST_A_TURN):
            if self._socket is None:
                return
            try:
                identity, payload = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._deliver(identity, payload)
        self._look_again()

    def _deliver(self, identity: bytes, payload: bytes) -> None:
        try:
            worker_id, message = worker_of(identity), self._decoder.decode(payload)
        except (ValueError, msgspec.MsgspecError):
            logger.exception("a message from %r makes no sense and is dropped", identity)
            return
        try:
            self._on_message(worker_id, message)
        except Exception as error:  # it must not keep the messages behind it from being delivered
            self._note_fault(error)

    def _note_fault(self, error: Exception) -> None:
        fault = f"the daemon could not handle a worker's message ({type(error).__name__}); restart the daemon"
        if fault not in self.faults:
            self.faults.append(fault)
            logger.critical("a worker's message could not be handled", exc_info=error)

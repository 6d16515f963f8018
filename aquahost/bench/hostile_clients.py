"""Clients that mean no good, for `aquahost bench hostile`: run as a program of its own, so as to take nobody's time.

`python -m aquahost.bench.hostile_clients KIND PORT` says "ready" once all of them are at it, and ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

_DRIP_S = 1.0
_AGAIN_S = 1.0
"""After which whoever was put out comes back."""
_SETTLE_S = 3.0
"""Until all is as it stays, with every buffer full."""
_AT_ONCE = 50
"""Of the clients that connect at the same time, while they begin."""
_SMALL_BUFFER_BYTES = 4096
_ECHOED_BYTES = 1_000_000
"""A reply begins with so much, which fills every buffer on the way."""
_HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be a nuisance."""

    clients: int
    about: str
    says: bytes
    """As soon as it is connected."""
    drips: bytes = b""
    """Every second from then on."""
    reads: bool = True
    """Whether it reads what it is told, as far as to notice that it is put out."""


def _flood() -> bytes:
    body = {"model": "flood", "prompt": "x" * _ECHOED_BYTES, "echo": True, "stream": True, "max_tokens": 100_000}
    data = json.dumps(body).encode()
    return _HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data


KINDS = {
    "slow-heads": Kind(200, "request heads that drip in (slowloris)", b"GET / HTTP/1.1\r\n", b"x: y\r\n"),
    "slow-bodies": Kind(200, "request bodies that drip in", _HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "half-open": Kind(200, "half a request, then silence", _HEAD + b"Content-Length: 1000000\r\n\r\n{"),
    "idle": Kind(2000, "connections without a word", b""),
    "unread": Kind(20, "streams that nobody reads", _flood(), reads=False),
}


async def _be_hostile(kind: Kind, port: int) -> None:
    at_once = asyncio.Semaphore(_AT_ONCE)
    begun = [asyncio.Event() for _ in range(kind.clients)]
    clients = [asyncio.create_task(_client(kind, port, at_once, event)) for event in begun]
    await asyncio.gather(*(event.wait() for event in begun))
    await asyncio.sleep(_SETTLE_S)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


async def _client(kind: Kind, port: int, at_once: asyncio.Semaphore, begun: asyncio.Event) -> None:
    """Come, be a nuisance, and come again once put out."""
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as connection, suppress(OSError):
            connection.setblocking(False)
            if not kind.reads:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
            async with at_once:
                await loop.sock_connect(connection, ("127.0.0.1", port))
                await loop.sock_sendall(connection, kind.says)
            begun.set()
            drip = asyncio.create_task(_drip(connection, kind.drips))
            try:
                await (_read(connection) if kind.reads else drip)
            finally:
                drip.cancel()
        await asyncio.sleep(_AGAIN_S)


async def _drip(connection: socket.socket, drips: bytes) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_DRIP_S)
        if drips:
            await loop.sock_sendall(connection, drips)


async def _read(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(connection, 1 << 16):
        pass


if __name__ == "__main__":
    asyncio.run(_be_hostile(KINDS[sys.argv[1]], int(sys.argv[2])))

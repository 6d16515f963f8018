"""Slow, silent and hostile clients of a port that speaks TLS: before, in and after the handshake."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import cast

import pytest
import uvloop

from api_server import ApiServer, wait_until
from aquahost.api.bounded_protocol import BoundedHttpProtocol, bounded_protocol
from aquahost.api.connection_limits import DOORWAY, ConnectionLimits
from aquahost.api.http_server import tls_context
from aquahost.messages.prompts import Request
from certificates import make_certificate
from fake_daemon import FakeDaemon, FakeStream, fake_settings

SHORT = ConnectionLimits(max_connections=3000, request_timeout_s=0.5, unread_timeout_s=0.5)
PATIENT = replace(SHORT, request_timeout_s=60.0, unread_timeout_s=60.0)
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATIENCE_S = 10.0
NewLoop = Callable[[], asyncio.AbstractEventLoop]

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "own")


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    return cast(NewLoop, request.param)


class Served:
    """A server that speaks TLS, and clients of it."""

    def __init__(self, pair: tuple[str, str], limits: ConnectionLimits, new_loop: NewLoop) -> None:
        self.server = ApiServer(
            FakeDaemon(fake_settings()),
            http=bounded_protocol(limits),
            tls=tls_context(*pair),
            new_loop=new_loop,
        )
        self._trusted = ssl.create_default_context(cafile=pair[0])

    @property
    def handshakes(self) -> int:
        """Those under way."""
        assert self.server.server.door is not None
        return self.server.server.door.handshakes

    @property
    def cut(self) -> dict[str, int]:
        """Connections that were ended, by why."""
        return dict(cast(type[BoundedHttpProtocol], self.server.server.config.http).cut)

    def raw(self, buffer_bytes: int = 1 << 16) -> socket.socket:
        """A connection on which nothing has been said."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", self.server.port))
        return client

    def secure(self, buffer_bytes: int = 1 << 16) -> ssl.SSLSocket:
        """A connection after its handshake."""
        return self._trusted.wrap_socket(self.raw(buffer_bytes), server_hostname="localhost")

    def answer(self) -> bytes:
        """What a plain request is answered."""
        with self.secure() as client:
            client.sendall(GET)
            return everything(client)


@contextmanager
def serving(
    pair: tuple[str, str], limits: ConnectionLimits = SHORT, new_loop: NewLoop = uvloop.new_event_loop
) -> Iterator[Served]:
    served = Served(pair, limits, new_loop)
    with served.server:
        yield served


def everything(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(1 << 16):
        received += data
    return received


def end_of(client: socket.socket) -> float:
    """How long until the server ends the connection."""
    began_s = time.monotonic()
    with suppress(ConnectionResetError):
        everything(client)
    return time.monotonic() - began_s


def test_requests_that_come_with_the_end_of_the_handshake(pair: tuple[str, str], new_loop: NewLoop) -> None:
    """TLS 1.3 lets the first request travel with the client's last words of the handshake."""
    with serving(pair, PATIENT, new_loop) as served, ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda _: served.answer(), range(300)))
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        wait_until(lambda: not served.server.connections and not served.handshakes)


def test_a_handshake_has_the_time_of_a_requests_head(pair: tuple[str, str], new_loop: NewLoop) -> None:
    with serving(pair, new_loop=new_loop) as served, served.raw() as silent, served.raw() as begun:
        begun.sendall(b"\x16\x03\x01")
        assert end_of(silent) < PATIENCE_S / 2
        assert end_of(begun) < PATIENCE_S / 2
        wait_until(lambda: served.cut["late"] == 2)
        wait_until(lambda: not served.handshakes)
        assert served.answer().startswith(b"HTTP/1.1 200 ")


def test_silence_after_the_handshake(pair: tuple[str, str]) -> None:
    with serving(pair) as served, served.secure() as silent, served.secure() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert everything(slow).startswith(b"HTTP/1.1 408 ")
        assert everything(silent) == b""
        wait_until(lambda: not served.server.connections)


@pytest.mark.parametrize(
    "words",
    [GET, b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01" + b"\xff" * 600, b"\x16" * 20_000],
    ids=["plain", "zeros", "garbled", "long"],
)
def test_what_is_no_handshake(pair: tuple[str, str], words: bytes, new_loop: NewLoop) -> None:
    with serving(pair, PATIENT, new_loop) as served, served.raw() as client:
        client.sendall(words)
        assert end_of(client) < PATIENCE_S
        wait_until(lambda: not served.handshakes)
        assert served.answer().startswith(b"HTTP/1.1 200 ")


def test_handshakes_count_as_connections(pair: tuple[str, str], new_loop: NewLoop) -> None:
    limits = replace(PATIENT, max_connections=4)
    with serving(pair, limits, new_loop) as served, ExitStack() as stack:
        for _ in range(4 + DOORWAY):
            stack.enter_context(served.raw())
        wait_until(lambda: served.handshakes == 4 + DOORWAY)
        assert end_of(stack.enter_context(served.raw())) < PATIENCE_S / 2
        stack.close()
        wait_until(lambda: not served.handshakes)
        assert served.answer().startswith(b"HTTP/1.1 200 ")


def test_beyond_the_most_connections_a_client_is_told(pair: tuple[str, str]) -> None:
    with serving(pair, replace(PATIENT, max_connections=1)) as served, served.secure():
        wait_until(lambda: served.server.connections == 1)
        assert served.answer().startswith(b"HTTP/1.1 503 ")


def flood(stream: FakeStream, _: Request) -> None:
    stream.accept()
    for _ in range(200):
        stream.say("x" * 100_000)


def ask_for_stream(client: ssl.SSLSocket) -> None:
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_reply_that_is_never_read_ends_with_its_prompt(pair: tuple[str, str], goes_on: bool) -> None:
    def script(stream: FakeStream, request: Request) -> None:
        flood(stream, request)
        if not goes_on:
            stream.finish()

    with serving(pair) as served, served.secure(4096) as client:
        served.server.daemon.script = script
        ask_for_stream(client)
        wait_until(lambda: served.server.daemon.streams)
        wait_until(lambda: not served.server.connections and not served.server.daemon.live)


def test_a_reply_that_is_read_slowly_but_steadily_goes_on(pair: tuple[str, str]) -> None:
    def script(stream: FakeStream, request: Request) -> None:
        flood(stream, request)
        stream.finish()

    with serving(pair) as served, served.secure(1 << 16) as client:
        served.server.daemon.script = script
        ask_for_stream(client)
        received, began_s = b"", time.monotonic()
        while not received.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            data = client.recv(1 << 16)
            assert data, "cut off"
            received = received[-100:] + data
            time.sleep(0.005)
        assert time.monotonic() - began_s > 2 * SHORT.unread_timeout_s


def test_the_end_does_not_wait_for_handshakes(pair: tuple[str, str], new_loop: NewLoop) -> None:
    with ExitStack() as stack:
        with serving(pair, PATIENT, new_loop) as served:
            for _ in range(10):
                stack.enter_context(served.raw())
            wait_until(lambda: served.handshakes == 10)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < PATIENCE_S

"""Slow, silent and hostile clients at raw sockets: each is gone after its time, and nobody else notices."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest

from api_server import ApiServer, wait_until
from aquahost.api.bounded_protocol import BoundedHttpProtocol, bounded_protocol
from aquahost.api.connection_limits import DOORWAY, ConnectionLimits
from aquahost.messages.prompts import Request
from fake_daemon import FakeDaemon, FakeStream, answer, fake_settings

pytestmark = pytest.mark.alone

SHORT = ConnectionLimits(max_connections=3000, request_timeout_s=0.5, unread_timeout_s=0.5)
PATIENT = ConnectionLimits(max_connections=3000, request_timeout_s=60.0, unread_timeout_s=60.0)
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PATIENCE_S = 10.0


def request(body: object, more: bytes = b"") -> bytes:
    data = json.dumps(body).encode()
    return HEAD + more + b"Content-Length: %d\r\n\r\n" % len(data) + data


@contextmanager
def serving(limits: ConnectionLimits = SHORT, socket_path: Path | None = None) -> Iterator[ApiServer]:
    with ApiServer(FakeDaemon(fake_settings()), socket_path, http=bounded_protocol(limits)) as server:
        yield server


def cut(server: ApiServer) -> dict[str, int]:
    """The connections that were ended, by why."""
    return dict(cast(type[BoundedHttpProtocol], server.server.config.http).cut)


def connect(server: ApiServer, *, buffer_bytes: int | None = None) -> socket.socket:
    connection = socket.socket()
    if buffer_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", server.port))
    return connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    received = b""
    while data := connection.recv(1 << 16):
        received += data
    return received


def is_served(server: ApiServer) -> bool:
    with connect(server) as connection:
        connection.sendall(request(CHAT, b"Connection: close\r\n"))
        return everything(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("bytes_sent", [b"G", HEAD, HEAD + b"X-Slow: ", HEAD + b"Content-Length: 100\r\n\r\n{"])
def test_a_request_that_does_not_end(bytes_sent: bytes) -> None:
    with serving() as server, connect(server) as slow:
        slow.sendall(bytes_sent)
        reply = everything(slow)
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
        assert is_served(server)
        wait_until(lambda: server.connections == 0)
        assert cut(server)["late"] == 1


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n"),  # slowloris
        (HEAD, b"a"),
        (b"", b"\r\n"),  # before any request
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"{"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n", b"x: y\r\n"),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n", b"x"),  # answered already
    ],
    ids=["slowloris", "name", "empty lines", "body", "chunks", "trailers", "after the reply"],
)
def test_drips_keep_no_connection(start: bytes, drip: bytes) -> None:
    with serving() as server, connect(server) as slow:
        slow.sendall(start)
        wait_until(lambda: server.connections == 1)
        ends_s = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < ends_s:
                slow.sendall(drip)
                time.sleep(0.05)
        assert server.connections == 0
        assert server.daemon.streams == []


def test_a_connection_without_a_word() -> None:
    with serving() as server, connect(server) as silent:
        assert everything(silent) == b""


def test_a_slow_request_that_comes_in_time_is_served() -> None:
    whole = request(CHAT, b"Connection: close\r\n")
    with serving(PATIENT) as server, connect(server) as slow:
        for index in range(0, len(whole), 10):
            slow.sendall(whole[index : index + 10])
        assert everything(slow).startswith(b"HTTP/1.1 200 ")


def test_a_prompt_may_take_longer_than_its_request_may() -> None:
    def late(stream: FakeStream, _: Request) -> None:
        stream.accept()

    with serving() as server, connect(server) as client:
        server.daemon.script = late
        client.sendall(request(CHAT, b"Connection: close\r\n"))
        wait_until(lambda: server.daemon.live)
        time.sleep(3 * SHORT.request_timeout_s)
        server.call(server.daemon.streams[0].finish)
        assert everything(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nX: ", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\nX: "],
    ids=["head", "trailer"],
)
def test_a_head_without_end_is_not_kept(start: bytes) -> None:
    with serving(PATIENT) as server, connect(server) as client:
        received = b""
        try:
            client.sendall(start)
            for _ in range(1000):
                client.sendall(b"x" * 10_000)
            received = everything(client)
        except OSError:
            pass
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
        wait_until(lambda: server.connections == 0)
        assert is_served(server)


def flood(stream: FakeStream, _: Request) -> None:
    stream.accept()
    for _ in range(200):
        stream.say("x" * 100_000)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_reply_that_is_never_read_ends_with_its_prompt(streamed: bool) -> None:
    def script(stream: FakeStream, request: Request) -> None:
        flood(stream, request)
        if not streamed:
            stream.finish()

    with serving() as server, connect(server, buffer_bytes=4096) as deaf:
        server.daemon.script = script
        deaf.sendall(request({**CHAT, "stream": streamed}, b"Connection: close\r\n"))
        wait_until(lambda: server.daemon.streams)
        server.daemon.script = answer
        assert is_served(server)
        wait_until(lambda: server.connections == 0)
        wait_until(lambda: not server.daemon.live)
        assert server.daemon.streams[0].cancelled is streamed
        assert cut(server)["unread"] == 1


def test_a_reply_that_is_read_slowly_but_steadily_goes_on() -> None:
    with serving() as server, connect(server, buffer_bytes=1 << 16) as slow:
        server.daemon.script = flood
        slow.sendall(request({**CHAT, "stream": True}))
        began_s = time.monotonic()
        while time.monotonic() - began_s < 4 * SHORT.unread_timeout_s:
            assert slow.recv(1 << 16)
            time.sleep(0.02)
        assert server.daemon.live


def test_a_stream_that_says_little_is_not_cut_off() -> None:
    with serving() as server, connect(server) as client:
        server.daemon.script = lambda stream, _: stream.accept()
        client.sendall(request({**CHAT, "stream": True}, b"Connection: close\r\n"))
        wait_until(lambda: server.daemon.live)
        for _ in range(8):
            time.sleep(SHORT.unread_timeout_s / 2)
            server.call(lambda: server.daemon.streams[0].say("word"))
        server.call(server.daemon.streams[0].finish)
        assert everything(client).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_beyond_the_most_connections_clients_are_told_so_and_the_owner_is_let_in(tmp_path: Path) -> None:
    limits = ConnectionLimits(max_connections=3, request_timeout_s=60.0)
    with serving(limits, tmp_path / "s") as server, ExitStack() as stack:
        held = [stack.enter_context(connect(server)) for _ in range(3)]
        wait_until(lambda: server.connections == 3)
        for _ in range(3):
            with connect(server) as one_too_many:
                one_too_many.sendall(request(CHAT))
                reply = everything(one_too_many)
                assert reply.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nRetry-After: 5\r\n" in reply
                assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        transport = httpx.HTTPTransport(uds=str(tmp_path / "s"))
        with httpx.Client(transport=transport, base_url="http://localhost") as owner:
            assert owner.get("/healthz").status_code == 200
        held.pop().close()
        wait_until(lambda: is_served(server))
        assert len(server.daemon.streams) == 1


def test_whoever_lingers_at_the_door_is_put_out() -> None:
    limits = ConnectionLimits(max_connections=2, request_timeout_s=60.0)
    with serving(limits) as server, ExitStack() as stack:
        for _ in range(DOORWAY + 50):
            stack.enter_context(connect(server))
        wait_until(lambda: server.connections == 2)


def test_two_thousand_idle_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 5000:
        pytest.skip(f"this system allows {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 5000), hard))
    try:
        with serving(PATIENT) as server, ExitStack() as stack:
            for _ in range(2000):
                stack.enter_context(connect(server))
            wait_until(lambda: server.connections == 2000)
            assert all(is_served(server) for _ in range(20))
            assert len(server.daemon.streams) == 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_owner_may_look_on_as_slowly_as_he_likes(tmp_path: Path) -> None:
    with serving(SHORT, tmp_path / "s") as server, socket.socket(socket.AF_UNIX) as owner:
        server.daemon.script = flood
        owner.settimeout(PATIENCE_S)
        owner.connect(str(tmp_path / "s"))
        owner.sendall(request({**CHAT, "stream": True}))
        wait_until(lambda: server.daemon.live)
        time.sleep(3 * SHORT.unread_timeout_s)
        assert server.daemon.live

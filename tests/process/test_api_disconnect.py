"""A client that leaves takes its prompts along, streamed or not; nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from api_server import ApiServer, wait_until
from aquahost.messages.prompts import Request
from fake_daemon import FakeDaemon, FakeStream, answer, hang

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
IMAGE = {"model": "paint", "prompt": "a boat"}
SPEECH = {"model": "sing", "input": "a song"}


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon(script=hang)


@pytest.fixture
def server(daemon: FakeDaemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as running:
        yield running


def post(server: ApiServer, path: str, body: object) -> socket.socket:
    """A connection on which a request has been sent and no reply read."""
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return connection


REQUESTS = [
    ("/v1/chat/completions", CHAT, 1),
    ("/v1/chat/completions", {**CHAT, "n": 3}, 3),
    ("/v1/completions", {"model": "chat", "prompt": ["a", "b"], "n": 2}, 4),
    ("/v1/images/generations", {**IMAGE, "n": 2}, 2),
    ("/v1/audio/speech", SPEECH, 1),
]


@pytest.mark.parametrize(("path", "body", "prompts"), REQUESTS)
def test_leaving_while_waiting(
    server: ApiServer, daemon: FakeDaemon, path: str, body: dict[str, object], prompts: int
) -> None:
    connection = post(server, path, body)
    wait_until(lambda: len(daemon.live) == prompts)
    connection.close()
    wait_until(lambda: not daemon.live)
    assert all(stream.cancelled for stream in daemon.streams)


@pytest.mark.parametrize(("path", "body", "prompts"), REQUESTS)
def test_leaving_a_stream(
    server: ApiServer, daemon: FakeDaemon, path: str, body: dict[str, object], prompts: int
) -> None:
    streamed = {**body, "stream_format": "sse"} if "speech" in path else {**body, "stream": True}
    connection = post(server, path, streamed)
    while b"data: " not in connection.recv(4096):
        pass
    assert len(daemon.live) == prompts
    connection.close()
    wait_until(lambda: not daemon.live)
    assert all(stream.cancelled for stream in daemon.streams)


@pytest.mark.parametrize("streamed", [False, True])
def test_leaving_before_the_prompt_is_accepted(server: ApiServer, daemon: FakeDaemon, streamed: bool) -> None:
    daemon.script = lambda _stream, _request: None
    connection = post(server, "/v1/chat/completions", {**CHAT, "stream": streamed})
    wait_until(lambda: daemon.live)
    connection.close()
    wait_until(lambda: not daemon.live)
    assert daemon.streams[0].cancelled


def test_leaving_a_stream_that_flows(server: ApiServer, daemon: FakeDaemon) -> None:
    connection = post(server, "/v1/chat/completions", {**CHAT, "stream": True})
    wait_until(lambda: daemon.live)
    stream = daemon.streams[0]
    connection.close()
    while not stream.ended:
        server.call(lambda: stream.say("more"))
    assert stream.cancelled


def test_a_reader_that_stalls_holds_up_nobody(server: ApiServer, daemon: FakeDaemon) -> None:
    stalled = post(server, "/v1/chat/completions", {**CHAT, "stream": True})
    wait_until(lambda: daemon.live)
    stream = daemon.streams[0]
    for _ in range(100):
        server.call(lambda: stream.say("x" * 100_000))
    with post(server, "/v1/chat/completions", {**CHAT, "stream": True}) as other:
        assert b"200 OK" in other.recv(4096)
    stalled.close()
    wait_until(lambda: not daemon.live)


def test_leaving_half_way_through_the_body(server: ApiServer, daemon: FakeDaemon) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: 900\r\n\r\n{")
    connection.close()
    with post(server, "/v1/chat/completions", {**CHAT, "stream": True}) as other:
        assert b"200 OK" in other.recv(4096)
    assert len(daemon.streams) == 1


def test_a_bug_in_an_encoder_leaves_no_prompt(server: ApiServer, daemon: FakeDaemon) -> None:
    def script(stream: FakeStream, _: Request) -> None:
        stream.accept()
        stream.say("\ud800")  # which no engine may produce, and which cannot be encoded

    daemon.script = script
    with post(server, "/v1/chat/completions", {**CHAT, "stream": True}) as connection:
        while connection.recv(4096):
            pass
    wait_until(lambda: not daemon.live)
    assert daemon.streams[0].cancelled


SECONDS = [
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n" + b"x" * 100,
    b"GET /healthz HTT",
    b"G",
    b"\r\nG",
    b"\0",
    b"\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10_000,
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("second", SECONDS, ids=lambda second: repr(second[:8]))
def test_leaving_with_a_second_request_under_way(
    server: ApiServer, daemon: FakeDaemon, second: bytes, streamed: bool
) -> None:
    with post(server, "/v1/chat/completions", {**CHAT, "stream": streamed}) as connection:
        wait_until(lambda: daemon.live)
        with contextlib.suppress(ConnectionError):
            connection.sendall(second)
    wait_until(lambda: not daemon.live)
    assert [stream.cancelled for stream in daemon.streams] == [True]


def test_a_second_request_ends_the_first(server: ApiServer, daemon: FakeDaemon) -> None:
    """Were it to wait for its turn, nobody would read on and see the client leave."""
    with post(server, "/v1/chat/completions", CHAT) as connection:
        wait_until(lambda: daemon.live)
        connection.sendall(SECONDS[0])
        wait_until(lambda: not daemon.live)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert len(daemon.streams) == 1


def test_both_requests_at_once(server: ApiServer, daemon: FakeDaemon) -> None:
    data = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(data) + data
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request * 2)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    wait_until(lambda: not daemon.live)


def test_leaving_after_more_than_the_last_request(server: ApiServer, daemon: FakeDaemon) -> None:
    data = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        wait_until(lambda: daemon.live)
        with contextlib.suppress(ConnectionError):
            connection.sendall(SECONDS[0] * 2)
    wait_until(lambda: not daemon.live)


def test_one_request_after_the_other(server: ApiServer, daemon: FakeDaemon) -> None:
    daemon.script = answer
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
            assert client.post("/v1/chat/completions", json={**CHAT, "stream": True}).text.endswith("[DONE]\n\n")
            assert client.post("/v1/chat/completions", content=b"x").status_code == 400

"""A client that leaves takes its prompts along, streamed or not; nothing is left behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from api_server import ApiServer, wait_until
from aquahost.messages.prompts import Request
from fake_daemon import FakeDaemon, FakeStream, hang

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
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
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
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
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

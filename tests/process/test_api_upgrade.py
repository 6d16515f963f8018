"""Clients that offer HTTP/2 (Java's, curl --http2) are answered in HTTP/1.1, as if they had not."""

from __future__ import annotations

import socket

import httpx

from api_server import ApiServer
from fake_daemon import WORDS, FakeDaemon, answer

OFFER = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


def test_an_offer_of_http2_is_passed_over() -> None:
    with ApiServer(FakeDaemon(script=answer)) as server:
        for _ in range(2):
            reply = httpx.post(f"{server.url}/v1/chat/completions", json=CHAT, headers=OFFER)
            assert reply.status_code == 200, reply.text
            assert reply.json()["choices"][0]["message"]["content"] == "".join(WORDS)


def test_a_body_is_never_changed_whatever_came_before_it() -> None:
    """A request refused before its body was read, whose body has an offer's line, then a second request."""
    body = b'{"a":\r\nupgrade: h2c\r\n\r\n1}'
    head = f"POST /v1/nothing HTTP/1.1\r\nHost: stranger.example\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        ApiServer(FakeDaemon(script=answer)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
    ):
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 403")
        connection.sendall(body)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")

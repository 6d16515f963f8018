"""Clients that offer HTTP/2 (Java's, curl --http2) are answered in HTTP/1.1, as if they had not."""

from __future__ import annotations

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

"""Bad input, byte by byte, at a real server: a clear 4xx in OpenAI's shape, and no prompt."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from api_bad_fields import CHAT, CHAT_URL, TABLE
from api_server import ApiServer
from fake_daemon import FakeDaemon, fake_settings

LIMIT_BYTES = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    daemon = FakeDaemon(fake_settings(host={"max_body_bytes": LIMIT_BYTES}))
    with ApiServer(daemon) as running:
        yield running


def refused(server: ApiServer, reply: httpx.Response, status: int = 400) -> dict[str, str | None]:
    """The reply's error object; checks its shape, and that no prompt was made or is left."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert server.daemon.streams == []
    return dict(error)


def said(text: str) -> str:
    return json.dumps(CHAT).replace('"Hi"', text)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "empty"),
        (b"  \n", None, "empty"),
        (b"{", None, "not valid JSON"),
        (b"{} {}", None, "not valid JSON"),
        (b"[]", None, "JSON object, not an array"),
        (b"null", None, "JSON object, not null"),
        (b'"text"', None, "JSON object, not a string"),
        (b"12", None, "JSON object, not 12"),
        (b"\xff\xfe\x00", None, "JSON"),
        (said('"\xe4"').encode("latin-1"), None, "UTF-8"),
        (json.dumps(CHAT).encode("utf-16"), None, "JSON"),
        (b"\xef\xbb\xbf" + json.dumps(CHAT).encode(), None, "JSON"),
        (said('"\\ud800"').encode(), None, "JSON"),
        (said('"a\x00b"').encode(), None, "JSON"),
        (b"[" * 90_000, None, "nested too deeply"),
        (b'{"model":' * 10_000, None, ""),
        (b'{"model": "chat", "messages": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", None, "nested too deeply"),
        (said('"Hi"').replace("}]", '}], "temperature": NaN').encode(), "temperature", "finite"),
        (said('"Hi"').replace("}]", '}], "top_p": -Infinity').encode(), "top_p", ""),
        (said('"Hi"').replace("}]", '}], "top_p": 1e999').encode(), "top_p", ""),
        (said('"Hi"').replace("}]", '}], "user": NaN').encode(), None, "JSON"),
        (said('"Hi"').replace("}]", '}], "seed": ' + "9" * 5000).encode(), None, "out of range"),
        (said('"Hi"').replace("}]", '}], "temperature": ' + "9" * 400).encode(), "temperature", ""),
    ],
    ids=lambda value: repr(value[:24])[2:-1] if isinstance(value, bytes) else None,
)
def test_bodies(server: ApiServer, body: bytes, param: str | None, words: str) -> None:
    reply = httpx.post(server.url + CHAT_URL, content=body, headers={"content-type": "application/json"})
    error = refused(server, reply)
    assert error["param"] == param
    assert words in (error["message"] or "")


def test_fields(server: ApiServer) -> None:
    """One test for the whole table: a connection for each row would be slow."""
    with httpx.Client(base_url=server.url) as client:
        for path, good, field, value, param in TABLE:
            error = refused(server, client.post(path, json={**good, field: value}))
            where = f"{path} {field}={value!r}: {error}"
            assert error["param"] == param, where
            assert f"'{param}'" in (error["message"] or ""), where


@pytest.mark.parametrize("streamed", [False, True])
def test_many_prompts_times_n(server: ApiServer, streamed: bool) -> None:
    body = {"model": "chat", "prompt": ["a"] * 65, "n": 2, "stream": streamed}
    assert refused(server, httpx.post(server.url + "/v1/completions", json=body))["param"] == "n"


@pytest.mark.parametrize("field", ["model", "messages"])
def test_missing_fields(server: ApiServer, field: str) -> None:
    reply = httpx.post(server.url + CHAT_URL, json={key: value for key, value in CHAT.items() if key != field})
    error = refused(server, reply)
    assert (error["param"], error["message"]) == (field, f"'{field}' is missing")


def test_the_nearest_field_is_named(server: ApiServer) -> None:
    error = refused(server, httpx.post(server.url + CHAT_URL, json={**CHAT, "temprature": 1}))
    assert "did you mean 'temperature'?" in (error["message"] or "")


def test_prompt_text_is_not_repeated(server: ApiServer) -> None:
    body = {**CHAT, "messages": [{"role": "secret words", "content": ["secret words"]}], "stop": ["secret words" * 999]}
    refused(server, httpx.post(server.url + CHAT_URL, json={**body, "prompt": "secret words"}))
    reply = httpx.post(server.url + CHAT_URL, json={**CHAT, "messages": "secret words"})
    assert "secret" not in reply.text


def test_other_media_types(server: ApiServer) -> None:
    body = json.dumps(CHAT).encode()
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""):
        error = refused(server, httpx.post(server.url + CHAT_URL, content=body, headers={"content-type": media_type}))
        assert "application/json" in (error["message"] or "")


def test_too_large(server: ApiServer) -> None:
    body = said(json.dumps("x" * LIMIT_BYTES)).encode()
    headers = {"content-type": "application/json"}
    for content in (body, iter([body[:500], body[500:]])):
        error = refused(server, httpx.post(server.url + CHAT_URL, content=content, headers=headers), 413)
        assert "host.max_body_bytes" in (error["message"] or "")


def test_too_large_is_seen_before_the_end(server: ApiServer) -> None:
    """A chunked body without an end, and a Content-Length of more than there will ever be."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (1 << 30))
        connection.sendall(b"x" * (LIMIT_BYTES + 1))
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    for length in (b"99999999999", b"9" * 500):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head + b"Content-Length: " + length + b"\r\n\r\n")
            assert connection.recv(100).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
    assert server.daemon.streams == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", CHAT_URL, 405),
        ("PUT", CHAT_URL, 405),
        ("DELETE", "/v1/models/chat", 405),
        ("POST", "/healthz", 405),
        ("GET", "/v1/models/", 404),
        ("GET", "/images/none.png", 404),
        ("GET", "/images/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/%00%ff", 404),
    ],
)
def test_routes(server: ApiServer, method: str, path: str, status: int) -> None:
    reply = httpx.request(method, server.url + path)
    refused(server, reply, status)
    assert ("allow" in reply.headers) == (status == 405)


def test_strange_hosts(server: ApiServer) -> None:
    for host in ("[", "a b", "", "x" * 300, "evil.example/x?", "[::1", "127.0.0.1.", ":80", "localhost:x", "\xe4"):
        head = f"GET /nothing HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head.encode("latin-1"))
            assert connection.recv(100).startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 403 ")), host

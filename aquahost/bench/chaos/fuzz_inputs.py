"""Bytes that no client should send: valid requests, taken apart and put together wrongly. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

_CHAT = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
_COMPLETION = {"model": "toy", "prompt": "Hi", "max_tokens": 4, "stream": True}
_HUGE = (b"-1", b"0", b"99999999999999999999", b"9" * 400, b"0x10", b"1e999", b"18446744073709551616", b"+5", b" 5")
_HEADS = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: \x0bchunked",
    b"Content-Length: 5", b"Content-Length: -5", b"Content-Length: 5, 6", b"Content-Length : 5", b"Content-Length:",
    b"Expect: 100-continue", b"Upgrade: h2c\r\nConnection: Upgrade", b"Upgrade: websocket", b"Connection: close, x",
    b"Host: a\r\nHost: b", b"Host:", b"no colon here", b": no name", b" folded: line", b"X-\x00: nul", b"X: \xff\xfe",
    b"Authorization: Bearer \xc3\x28", b"Authorization: Basic", b"Origin: http://evil.example", b"Content-Type: text/x",
    b"Content-Encoding: gzip", b"X-Aquahost-Comments: \xf0\x9f", b"Accept: */*;q=\x7f", b"Forwarded: for=_x",
)  # fmt: skip
_FIRST_LINES = (
    b"GET /v1/models HTTP/9.9", b"GET /v1/models HTTP/0.9", b"GET /v1/models", b"get /v1/models HTTP/1.1",
    b"PRI * HTTP/2.0", b"OPTIONS * HTTP/1.1", b"CONNECT a:80 HTTP/1.1", b"TRACE / HTTP/1.1", b"GET  /  HTTP/1.1",
    b"GET /\x00 HTTP/1.1", b"GET /%ff%00%zz HTTP/1.1", b"GET http://[ HTTP/1.1", b"GET //evil.example/ HTTP/1.1",
    b"GET /v1/models/../../etc/passwd HTTP/1.1", b"POST /v1/chat/completions?\xff=\x01 HTTP/1.1", b"\x16\x03\x01\x02",
)  # fmt: skip


def _request(method: str, path: str, body: bytes = b"", *heads: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *heads]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


VALID = (
    _request("GET", "/v1/models"),
    _request("GET", "/healthz"),
    _request("HEAD", "/readyz"),
    _request("GET", "/metrics"),
    _request("GET", "/control/snapshot"),
    _request("POST", "/control/prompts/abcdef/cancel"),
    _request("POST", "/v1/chat/completions", json.dumps(_CHAT).encode()),
    _request("POST", "/v1/chat/completions", json.dumps({**_CHAT, "stream": True}).encode()),
    _request("POST", "/v1/completions", json.dumps(_COMPLETION).encode(), "X-Aquahost-Comments: queue"),
    _request("POST", "/v1/images/generations", b'{"model": "toy", "prompt": "x"}'),
    _request("POST", "/v1/audio/speech", b'{"model": "toy", "input": "x"}', "Expect: 100-continue"),
    _chunked("/v1/completions", json.dumps(_COMPLETION).encode()),
)
"""Of routes that steer nothing: none of these, however it is bent, loads, unloads, drains or ends anything."""


def fuzz_input(generator: random.Random) -> bytes:
    """A valid request with one to four things wrong, or sometimes bytes that never were one."""
    if generator.random() < 0.05:
        return generator.randbytes(generator.randrange(1, 400))
    data = generator.choice(VALID)
    for _ in range(generator.randrange(1, 5)):
        data = generator.choice(_WRONGS)(generator, data)
    return data


# -- what can be wrong -----------------------------------------------------------------------------------------


def _cut_short(generator: random.Random, data: bytes) -> bytes:
    return data[: generator.randrange(len(data) + 1)]


def _noise(generator: random.Random, data: bytes) -> bytes:
    at = generator.randrange(len(data) + 1)
    noise = generator.choice((b"\0", b"\xff", b"\r", b"\n", b"\r\n\r\n", generator.randbytes(8), b"\xc3\x28", b'"'))
    return data[:at] + noise * generator.randrange(1, 4) + data[at:]


def _flipped(generator: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _ in range(generator.randrange(1, 6)):
        changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _slice(generator: random.Random, data: bytes) -> tuple[int, int]:
    begin, end = sorted((generator.randrange(len(data) + 1), generator.randrange(len(data) + 1)))
    return begin, end


def _missing(generator: random.Random, data: bytes) -> bytes:
    begin, end = _slice(generator, data)
    return data[:begin] + data[end:]


def _repeated(generator: random.Random, data: bytes) -> bytes:
    begin, end = _slice(generator, data)
    return data[:end] + data[begin:end] * generator.randrange(1, 5) + data[end:]


def _huge_number(generator: random.Random, data: bytes) -> bytes:
    places = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    at = generator.choice(places)
    return data[:at] + generator.choice(_HUGE) + data[at + 1 :]


def _head(generator: random.Random, data: bytes) -> bytes:
    first, end, rest = data.partition(b"\r\n")
    return first + end + generator.choice(_HEADS) + b"\r\n" + rest


def _long_head(generator: random.Random, data: bytes) -> bytes:
    first, end, rest = data.partition(b"\r\n")
    size = generator.choice((1_000, 9_000, 70_000, 300_000))
    many = b"X: y\r\n" * (size // 6) if generator.random() < 0.5 else b"X: " + b"y" * size + b"\r\n"
    return first + end + many + rest


def _first_line(generator: random.Random, data: bytes) -> bytes:
    return generator.choice(_FIRST_LINES) + b"\r\n" + data.partition(b"\r\n")[2]


def _pipelined(generator: random.Random, data: bytes) -> bytes:
    return data + b"".join(generator.choices(VALID, k=generator.randrange(1, 4)))


def _deep(generator: random.Random, data: bytes) -> bytes:
    head, end, body = data.partition(b"\r\n\r\n")
    opened = generator.choice((b"[", b'{"a":')) * generator.randrange(10, 20_000)
    return head + end + opened + body


def _body(generator: random.Random, data: bytes) -> bytes:
    """Another body, with a length that is right: it gets as far as the parser of JSON."""
    bodies = (b"null", b"[]", b'"\xff"', b'{"model": "toy"}', b'{"model": "toy", "prompt": "\\ud800"}', b"{" * 99)
    body = _flipped(
        generator, generator.choice((*bodies, json.dumps(_CHAT).encode(), json.dumps(_COMPLETION).encode()))
    )
    return _request("POST", generator.choice(("/v1/completions", "/v1/chat/completions")), body) + data[:0]


_WRONGS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut_short, _noise, _flipped, _missing, _repeated, _huge_number, _head, _long_head, _first_line, _pipelined, _deep,
    _body,
)  # fmt: skip

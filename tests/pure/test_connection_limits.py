"""When a request is late, when a client reads, and what it is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.api.connection_limits import LEAST_BYTES_PER_S, ConnectionLimits, late_request, long_head, no_room
from aquahost.daemon.open_files import RESERVE, room_for_connections

LIMITS = ConnectionLimits(request_timeout_s=20.0, max_body_bytes=1_000_000, unread_timeout_s=60.0)
TIMES = st.floats(0, 1e6)


@given(TIMES, st.floats(0, 1e6), st.integers(0, 1 << 40))
def test_a_body_is_late_after_a_pause_and_when_it_is_slow_and_at_last(
    began_s: float, took_s: float, body_bytes: int
) -> None:
    heard_s = began_s + took_s
    due_s = LIMITS.body_due_s(began_s, heard_s, body_bytes)
    last_s = min(began_s + min(body_bytes, LIMITS.max_body_bytes) / LEAST_BYTES_PER_S, heard_s)
    # The same sums in another order, which may differ in the last digit.
    assert due_s == pytest.approx(last_s + 20, rel=1e-12)
    assert due_s >= began_s + 20


@given(st.floats(0, 1e6), st.integers(1, 1_000_000))
def test_a_body_at_the_least_rate_is_never_late(began_s: float, body_bytes: int) -> None:
    heard_s = began_s + body_bytes / LEAST_BYTES_PER_S
    assert LIMITS.body_due_s(began_s, heard_s, body_bytes) == pytest.approx(heard_s + 20)


@pytest.mark.parametrize(
    ("before", "now", "reads"), [(50_000, 50_000, False), (50_000, 20_001, False), (50_000, 20_000, True), (9, 0, True)]
)
def test_reading(before: int, now: int, reads: bool) -> None:
    assert LIMITS.is_reading(before, now) is reads


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (late_request(20), b"408 Request Timeout", "request_timeout"),
        (long_head(), b"431 Request Header Fields Too Large", "head_too_long"),
        (no_room(), b"503 Service Unavailable", "too_many_connections"),
    ],
)
def test_what_is_said_without_a_request_has_openai_s_shape(reply: bytes, status: bytes, code: str) -> None:
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 " + status
    assert b"Connection: close" in lines
    assert f"Content-Length: {len(body)}".encode() in lines
    assert (b"Retry-After: 5" in lines) == (code == "too_many_connections")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


def test_connections_leave_room_for_other_files() -> None:
    assert room_for_connections(4096, 20_000) == 4096
    assert room_for_connections(4096, 1024) == 1024 - RESERVE
    assert room_for_connections(4096, 100) == 1
    assert room_for_connections(4096, -1) == 4096

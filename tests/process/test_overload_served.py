"""The limits of models.yaml in a daemon as `aquahost up` runs it."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
from pathlib import Path

import httpx

from aquahost.daemon.listeners import KEEP_ALIVE_S, listen_tcp, notice_dead_clients
from aquahost.daemon.open_files import raise_open_files
from daemon_fixtures import PATIENCE_S, served_daemon, toy, wait_until


def test_late_requests_and_late_prompts_end(tmp_path: Path) -> None:
    models = {"toy": toy(step_s=0.05)}
    with served_daemon(tmp_path, models, request_timeout_s=0.5, prompt_timeout_s=1.0) as daemon:
        url = f"http://127.0.0.1:{daemon.info.port}"
        wait_until(lambda: httpx.get(f"{url}/readyz").is_success)
        with socket.create_connection(("127.0.0.1", daemon.info.port), PATIENCE_S) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\n")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        body = {"model": "toy", "prompt": "x", "max_tokens": 100_000}
        stream = httpx.post(f"{url}/v1/completions", json={**body, "stream": True}, timeout=PATIENCE_S)
        *tokens, last = [line for line in stream.text.splitlines() if line]
        assert stream.status_code == 200
        assert tokens
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "prompt_timeout"
        whole = httpx.post(f"{url}/v1/completions", json=body, timeout=PATIENCE_S)
        assert (whole.status_code, whole.json()["error"]["code"]) == (400, "prompt_timeout")


def test_connections_learn_of_dead_clients_from_their_listener() -> None:
    with listen_tcp("127.0.0.1", 0) as listener:
        notice_dead_clients(listener, 45.0)
        with socket.create_connection(listener.getsockname()), contextlib.closing(listener.accept()[0]) as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEP_ALIVE_S
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000


def test_open_files_are_raised_as_far_as_they_go() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        assert raise_open_files() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert raise_open_files() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

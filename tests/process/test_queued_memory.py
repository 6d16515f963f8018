"""What queued prompts cost the daemon's process: the request once, and not much more."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx

from aquahost.bench.process import resident_bytes
from aquahost.units import MIB
from daemon_fixtures import ServedDaemon, served_daemon, toy, wait_until

PROMPTS = 400
TEXT_BYTES = 200_000
AT_ONCE = 20
"""Requests on their way at the same time; what they take then, the process keeps."""


def queue(daemon: ServedDaemon, stack: ExitStack, prompts: int) -> None:
    """Have so many more prompts live, each on a connection of its own, and all accepted by the worker."""
    content = json.dumps({"model": "toy", "prompt": "x" * TEXT_BYTES, "stream": True, "max_tokens": 1_000_000})
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode()
    address = ("127.0.0.1", daemon.info.port)
    for _ in range(prompts // AT_ONCE):
        wave = [stack.enter_context(socket.create_connection(address, 20)) for _ in range(AT_ONCE)]
        for connection in wave:
            connection.sendall(request)
        for connection in wave:
            assert connection.recv(20).startswith(b"HTTP/1.1 200 ")


def test_a_queued_prompt_is_kept_once(tmp_path: Path) -> None:
    """Two copies of each request would break the bound: one is kept, to go on with should the worker die."""
    with served_daemon(tmp_path, {"toy": toy(step_s=0.05, max_queue=PROMPTS)}) as daemon:
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{daemon.info.port}/readyz").is_success)
        with ExitStack() as stack:
            queue(daemon, stack, AT_ONCE)
        with ExitStack() as stack:
            before_bytes = resident_bytes(daemon.process.pid)
            queue(daemon, stack, PROMPTS)
            each_bytes = (resident_bytes(daemon.process.pid) - before_bytes) / PROMPTS
        assert TEXT_BYTES / 2 < each_bytes < 1.75 * TEXT_BYTES, f"{before_bytes / MIB:.0f} MiB without prompts"

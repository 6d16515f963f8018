"""What ten thousand queued prompts cost the daemon in memory."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.bench.process import resident_bytes
from aquahost.daemon.open_files import raise_open_files
from aquahost.errors import StartError
from aquahost.units import MIB

_PROMPTS = 10_000
_WARM = 200
_TEXT_BYTES = 2000
_MODELS = f"models:\n  toy: {{kind: toy, max_queue: {2 * _PROMPTS}, toy: {{load_s: 0, step_s: 500ms}}}}\n"
_PATIENCE_S = 120.0
_FILES = 512
"""Beside the connections."""
_MOST_KIB = 64


def measure_queued() -> list[Figure]:
    """Resident memory of the daemon for each of 10,000 live prompts, each with its own connection."""
    open_files = raise_open_files()
    if 0 <= open_files < _PROMPTS + _FILES:
        raise StartError(f"{_PROMPTS} connections need as many open files; this system allows {open_files}")
    with private_daemon(_MODELS, {"AQUAHOST_HOST__MAX_CONNECTIONS": str(2 * _PROMPTS)}) as daemon:
        _queue(daemon, _WARM)
        before_bytes = resident_bytes(daemon.pid)
        queued_bytes, took_s = _queue(daemon, _PROMPTS)
        after_bytes = resident_bytes(daemon.pid)
    each_kib = (queued_bytes - before_bytes) / _PROMPTS / 1024
    note = f"{_TEXT_BYTES} bytes of text each; all queued after {took_s:.1f} s"
    return [
        at_most(f"daemon memory for each of {_PROMPTS} live prompts", each_kib, "KiB", _MOST_KIB, note=note),
        Figure(name="daemon without prompts", value=before_bytes / MIB, unit="MiB"),
        Figure(name=f"daemon with {_PROMPTS} live prompts", value=queued_bytes / MIB, unit="MiB"),
        Figure(name="daemon once they are gone", value=after_bytes / MIB, unit="MiB"),
    ]


def _queue(daemon: PrivateDaemon, prompts: int) -> tuple[int, float]:
    """Have so many prompts live, then none; returns the daemon's memory with them, and how long they took to queue."""
    with ExitStack() as stack:
        began_s = time.monotonic()
        for number in range(prompts):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), _PATIENCE_S))
            connection.sendall(_request(number))
        _wait_for(daemon, prompts)
        took_s = time.monotonic() - began_s
        with_them_bytes = resident_bytes(daemon.pid)
    _wait_for(daemon, 0)
    return with_them_bytes, took_s


def _request(number: int) -> bytes:
    text = f"{number} ".ljust(_TEXT_BYTES, "x")
    body = {"model": "toy", "messages": [{"role": "user", "content": text}], "max_tokens": 1000, "stream": True}
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _wait_for(daemon: PrivateDaemon, prompts: int) -> None:
    ends_s = time.monotonic() + _PATIENCE_S
    while (live := sum(model["queue"] for model in daemon.snapshot()["models"])) != prompts:
        if time.monotonic() > ends_s:
            raise StartError(f"{live} prompts are live, not {prompts}")
        time.sleep(0.5)

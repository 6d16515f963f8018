"""What the terminal UI costs, and how soon it answers a key, over a daemon with a thousand live prompts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.http_stream import Server
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon
from aquahost.bench.process import cpu_s
from aquahost.errors import StartError

_PROMPTS = 1000
_PER_S = 20
_WIDTH, _HEIGHT = 200, 60
_WATCHED_S = 15.0
_KEYS = 40
_PATIENCE_S = 20.0
_CODES = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>])")
_SORTED = re.compile("([A-Z/]+)(?:▲|▼)".encode())
_TOY = f"""scheduler: {{max_batch: 256}}
models:
  toy: {{kind: toy, max_queue: {_PROMPTS}, toy: {{load_s: 0, step_s: 500ms}}}}
"""


def measure_top() -> list[Figure]:
    """CPU of the UI's process at 20 updates/s, and the time from a key to the bytes that answer it."""
    with private_daemon(_TOY) as daemon, _prompts(daemon), _Terminal(daemon) as terminal:
        terminal.wait_for(b"prompts")
        _wait_for_prompts(daemon)
        time.sleep(2.0)
        before_s, began_s = cpu_s(terminal.pid), time.monotonic()
        terminal.read_for(_WATCHED_S)
        share = (cpu_s(terminal.pid) - before_s) / (time.monotonic() - began_s)
        sorting_s = sorted(terminal.time_sorting() for _ in range(_KEYS))
        filter_s = sorted(terminal.time_filter() for _ in range(_KEYS))
    load = f"{_PROMPTS} live prompts, {_PER_S} updates/s, {_WIDTH}x{_HEIGHT}"
    return [
        at_most("CPU of the terminal UI, of one core", share * 100, "%", 30, note=load),
        *_times("sort by the next column", sorting_s),
        *_times("open the filter", filter_s),
    ]


def _times(what: str, times_s: Sequence[float]) -> list[Figure]:
    """Of one key, pressed many times."""
    slowest = f"slowest of {len(times_s)}: {times_s[-1] * 1e3:.0f} ms"
    return [at_most(f"from a key to its answer: {what}", statistics.median(times_s) * 1e3, "ms", 50, note=slowest)]


class _Terminal:
    """`aquahost top` in a pseudo-terminal, and what it writes there."""

    def __init__(self, daemon: PrivateDaemon) -> None:
        self._daemon = daemon
        self._master = -1
        self._seen = b""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Terminal:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, _WIDTH, 0, 0))
        env = {**self._daemon.env, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        command = [sys.executable, "-m", "aquahost", "top", "--per-s", str(_PER_S)]
        self._process = subprocess.Popen(
            command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            while self._process.poll() is None:
                self._read(0.1)  # it may wait for a reader
        os.close(self._master)

    @property
    def pid(self) -> int:
        """Of the UI."""
        assert self._process is not None
        return self._process.pid

    def read_for(self, seconds: float) -> None:
        """Read what it writes, as a terminal does."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            self._read(left_s)

    def wait_for(self, text: bytes) -> None:
        """Read until `text` has been written; raises StartError if that does not happen in time."""
        ends_s = time.monotonic() + _PATIENCE_S
        while text not in _CODES.sub(b"", self._seen):
            if time.monotonic() > ends_s:
                raise StartError(f"the terminal UI never showed {text.decode()!r}: {self._seen[-300:]!r}")
            self._read(1.0)

    def time_sorting(self) -> float:
        """Seconds from "." until another column's title has the arrow."""
        self.read_for(0.15)
        before = _SORTED.findall(_CODES.sub(b"", self._seen))[-1]
        began_s = time.monotonic()
        os.write(self._master, b".")
        ends_s = began_s + _PATIENCE_S
        while _SORTED.findall(_CODES.sub(b"", self._seen[-20_000:]))[-1:] in ([], [before]):
            if time.monotonic() > ends_s:
                raise StartError("the terminal UI never sorted its table")
            self._read(1.0)
        return time.monotonic() - began_s

    def time_filter(self) -> float:
        """Seconds from "/" to the filter's own words; the filter is closed again."""
        self.read_for(0.15)
        self._seen = b""
        began_s = time.monotonic()
        os.write(self._master, b"/")
        self.wait_for(b"words that rows must have")
        took_s = time.monotonic() - began_s
        os.write(self._master, b"\x1b")
        self.read_for(0.4)
        return took_s

    def _read(self, wait_s: float) -> None:
        if select.select([self._master], [], [], wait_s)[0]:
            with suppress(OSError):
                self._seen = self._seen[-100_000:] + os.read(self._master, 1 << 16)


@contextmanager
def _prompts(daemon: PrivateDaemon) -> Iterator[None]:
    """So many streams that do not end, for as long as this holds."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(host="127.0.0.1", port=daemon.port, path="/v1/completions")
    request = server.request({"model": "toy", "prompt": "hello", "max_tokens": 100_000})

    async def ask_all() -> None:
        await asyncio.gather(*(server.exchange(request) for _ in range(_PROMPTS)))

    asked = asyncio.run_coroutine_threadsafe(ask_all(), loop)
    try:
        yield
    finally:
        asked.cancel()
        time.sleep(0.5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _wait_for_prompts(daemon: PrivateDaemon) -> None:
    ends_s = time.monotonic() + _PATIENCE_S
    while (live := len(daemon.snapshot()["prompts"])) < _PROMPTS:
        if time.monotonic() > ends_s:
            raise StartError(f"only {live} of {_PROMPTS} prompts are live")
        time.sleep(0.5)

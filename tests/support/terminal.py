"""A program in a pseudo-terminal: what it draws, and keys for it."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte

PATIENCE_S = 30.0


class Terminal:
    """Understands what the program writes, as xterm would."""

    def __init__(self, line: Sequence[str], env: Mapping[str, str], columns: int = 120, lines: int = 40) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._ours, theirs = os.openpty()
        self._theirs = theirs
        """Kept open, so that its state can be looked at when the program has ended."""
        self.before = termios.tcgetattr(theirs)
        self.written = b""
        self._set_size(columns, lines)
        # A size in the environment, as test runners may set it, would count for more than the terminal's own.
        env = {name: value for name, value in env.items() if name not in ("LINES", "COLUMNS")}
        env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            list(line), env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def text(self) -> str:
        """What stands on the screen."""
        with self._lock:
            return "\n".join(self._screen.display)

    def press(self, keys: str) -> None:
        """Type."""
        self.press_bytes(keys.encode())

    def press_bytes(self, keys: bytes) -> None:
        """Send what a terminal would, or what it should not."""
        os.write(self._ours, keys)

    def until(self, words: str, *, gone: bool = False) -> str:
        """Wait until the screen shows these words, or no longer does; what stands there then."""
        deadline = time.monotonic() + PATIENCE_S
        while (words in (text := self.text())) is gone:
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}:\n{text}"
            assert time.monotonic() < deadline, f"{words!r} {'stays' if gone else 'never came'}:\n{text}"
            time.sleep(0.05)
        return text

    def resize(self, columns: int, lines: int) -> None:
        """Make the window larger or smaller."""
        with self._lock:
            self._screen.resize(lines, columns)
        self._set_size(columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def end(self) -> int:
        """Wait for the program's end; its exit code."""
        code = self.process.wait(PATIENCE_S)
        time.sleep(0.1)  # what it wrote last may be on its way
        return code

    def is_restored(self) -> bool:
        """Whether the terminal is as the program found it: modes, cursor, main screen, no mouse."""
        modes = (b"?25", b"?1049", b"?1000")
        ups = {mode: self.written.rfind(b"\x1b[" + mode + b"h") for mode in modes}
        downs = {mode: self.written.rfind(b"\x1b[" + mode + b"l") for mode in modes}
        is_back = downs[b"?1049"] > ups[b"?1049"] and downs[b"?1000"] >= ups[b"?1000"] and ups[b"?25"] > downs[b"?25"]
        return is_back and termios.tcgetattr(self._theirs) == self.before

    def close(self) -> None:
        """End the program, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._theirs)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                break
            with self._lock:
                self.written += data
                self._stream.feed(data)
        os.close(self._ours)


@contextmanager
def terminal(line: Sequence[str], env: Mapping[str, str], columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    """A program in a terminal, ended at the end."""
    made = Terminal(line, env, columns, lines)
    try:
        yield made
    finally:
        made.close()

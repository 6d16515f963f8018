"""A log file's last lines, and what is written to it from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from aquahost.units import MIB

_BLOCK_BYTES = 64 * 1024
_MOST_BYTES = 16 * MIB
_POLL_S = 0.25


def last_lines(path: Path, lines: int) -> tuple[bytes, int]:
    """The last `lines` lines (of at most 16 MiB) and the file's length; nothing if there is no such file.

    Reads backwards in blocks, so a long log costs no more than what is returned.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return b"", 0
    blocks: list[bytes] = []
    newlines = 0
    with file:
        end = start = file.seek(0, 2)
        while start > 0 and newlines <= lines and end - start < _MOST_BYTES:
            size = min(_BLOCK_BYTES, start)
            start -= size
            file.seek(start)
            blocks.append(file.read(size))
            newlines += blocks[-1].count(b"\n")
    kept = b"".join(reversed(blocks)).split(b"\n")
    complete = kept[-1] == b""  # the file ends with a line feed, which begins no line
    return b"\n".join(kept[-lines - complete :]) if lines else b"", end


class LogTail:
    """Reads what is appended to a log file, which may be cut to its last lines or replaced meanwhile."""

    def __init__(self, path: Path, offset: int) -> None:
        """Begin at `offset`, the file's length so far."""
        self._path = path
        self._offset = offset
        self._inode = self._stat()[0]

    def read(self) -> bytes:
        """Up to a block of what is new: nothing right after a cut, all of it in a new file."""
        inode, size = self._stat()
        if inode != self._inode:
            self._inode, self._offset = inode, 0
        self._offset = min(self._offset, size)
        if size == self._offset:
            return b""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read(_BLOCK_BYTES)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        return data

    def _stat(self) -> tuple[int, int]:
        """Inode and size; zeros for no such file."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size


async def log_text(path: Path, lines: int, *, ended: Callable[[], bool]) -> AsyncGenerator[bytes]:
    """The last `lines` lines, then everything new until `ended`. Files are read in another thread."""
    data, offset = await asyncio.to_thread(last_lines, path, lines)
    yield data
    tail = LogTail(path, offset)
    while True:
        last = ended()
        data = await asyncio.to_thread(tail.read)
        if data:
            yield data
        if last:
            return
        if not data:
            await asyncio.sleep(_POLL_S)

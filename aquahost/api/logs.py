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


def read_from(path: Path, offset: int) -> tuple[bytes, int]:
    """Up to a block written since `offset`, and the new offset; from the start if the file has shrunk or is new."""
    try:
        size = path.stat().st_size
        if size < offset:
            offset = 0
        if size == offset:
            return b"", offset
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(_BLOCK_BYTES)
    except FileNotFoundError:
        return b"", 0
    return data, offset + len(data)


async def log_text(path: Path, lines: int, *, ended: Callable[[], bool]) -> AsyncGenerator[bytes]:
    """The last `lines` lines, then everything new until `ended`. Files are read in another thread."""
    data, offset = await asyncio.to_thread(last_lines, path, lines)
    yield data
    while True:
        last = ended()
        data, offset = await asyncio.to_thread(read_from, path, offset)
        if data:
            yield data
        if last:
            return
        if not data:
            await asyncio.sleep(_POLL_S)

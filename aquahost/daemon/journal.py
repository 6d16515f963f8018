"""The journal: the daemon's events in a file that outlives it, one JSON object a line."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from aquahost.config.paths import private_dirs
from aquahost.events import Event
from aquahost.units import MIB

logger = logging.getLogger(__name__)

MOST_BYTES = 8 * MIB
"""A file larger than this is set aside as events.jsonl.1 ..."""
KEPT_FILES = 4
"""... of which there are so many, the newest first."""
PERIOD_S = 0.25
"""Between two writes: what a killed daemon may not have written yet."""
RETRY_S = 5.0
"""The same while the file cannot be written."""
MOST_PENDING = 4096
"""Events that wait for room on the disk; the oldest give way."""


class JournalEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event, and the run of the daemon that numbered it."""

    run: str


class Journal:
    """Writes one run's events to `path` (0600), in a thread, and sets the file aside as it grows.

    A disk that is full or cannot be written costs nothing but the journal: one warning, and what still fits in memory
    is written when there is room again.
    """

    def __init__(
        self,
        path: Path,
        run: str,
        *,
        most_bytes: int = MOST_BYTES,
        period_s: float = PERIOD_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._path = path
        self._run = run
        self._most_bytes = most_bytes
        self._period_s = period_s
        self._retry_s = retry_s
        self._pending: list[Event] = []
        self._lost = 0
        self._fails = False

    async def run(self, events: AsyncIterator[Event]) -> None:
        """Write `events` until they end."""
        reading = asyncio.create_task(self._read(events))
        try:
            while True:
                ended = reading.done()
                await self._flush()
                if ended:
                    break
                await asyncio.wait([reading], timeout=self._retry_s if self._fails else self._period_s)
        finally:
            reading.cancel()

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self._pending.append(event)

    async def _flush(self) -> None:
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        try:
            await asyncio.to_thread(self._write, batch)
        except OSError as error:
            waiting = batch + self._pending
            self._lost += max(0, len(waiting) - MOST_PENDING)
            self._pending = waiting[-MOST_PENDING:]
            if not self._fails:
                logger.warning(
                    "the journal %s cannot be written: %s; serving goes on, and it is tried again",
                    self._path,
                    error.strerror,
                )
            self._fails = True
            return
        if self._fails:
            logger.info("the journal %s is written again; %d events are missing in it", self._path, self._lost)
        self._fails, self._lost = False, 0

    def _write(self, batch: list[Event]) -> None:
        """Append a batch as a whole, or leave the file as it was. Raises OSError."""
        data = b"".join(
            msgspec.json.encode(JournalEvent(run=self._run, **msgspec.structs.asdict(event))) + b"\n" for event in batch
        )
        private_dirs(self._path.parent)
        if self._size() + len(data) > self._most_bytes and self._size():
            self._set_aside()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                written = 0
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            except OSError:
                if os.fstat(descriptor).st_size > before:
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _set_aside(self) -> None:
        for path, older in reversed(list(zip([self._path, *_older(self._path)], _older(self._path), strict=False))):
            if path.exists():
                path.replace(older)


def read_journal(path: Path) -> Iterator[JournalEvent]:
    """What is in the journal, oldest first; lines that make no sense are passed over."""
    decoder = msgspec.json.Decoder(JournalEvent)
    for file in (*reversed(_older(path)), path):
        try:
            lines = file.open("rb")
        except FileNotFoundError:
            continue
        with lines:
            for line in lines:
                try:
                    yield decoder.decode(line)
                except msgspec.MsgspecError:
                    continue


def _older(path: Path) -> list[Path]:
    """The files that are set aside, newest first."""
    return [path.with_name(f"{path.name}.{number}") for number in range(1, KEPT_FILES + 1)]

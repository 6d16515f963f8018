"""Recordings: a header line, then one line of JSON for each snapshot and event, with its time; packed if named .gz."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

import msgspec
from textual.message import Message

from aquahost.clock import Clock
from aquahost.errors import AquahostError
from aquahost.events import Event
from aquahost.messages.snapshot import SCHEMA_VERSION, Snapshot
from aquahost_tui.feeds.feed import Feed, Post
from aquahost_tui.messages import EventCame, FeedBroke, FeedFailed, SnapshotCame

_FORMAT = "aquahost recording"


class RecordingError(AquahostError):
    """A file that cannot be played or written, and why."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str
    schema_version: int
    """Of its snapshots."""
    version: str = ""
    """Of the aquahost that wrote it."""


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any other line: either a snapshot or an event."""

    t: float
    """Seconds since the recording's first line."""
    snapshot: Snapshot | None = None
    event: Event | None = None


class _AnyHeader(msgspec.Struct):
    format: str = ""
    schema_version: int = 0
    version: str = ""


class Recorder:
    """Writes what a feed tells to a file, each line as it comes, so that what was seen before a crash is kept.

    Its methods raise RecordingError if the file cannot be written; after `close`, which any thread may call, they do
    nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._encoder = msgspec.json.Encoder()
        try:
            self._file = _opened(path, "wb")
        except OSError as error:
            raise self._failure(error) from error

    def take(self, snapshot: Snapshot, at_s: float) -> None:
        """A snapshot, on the feed's clock."""
        if self._began_s is None:
            self._write(Header(format=_FORMAT, schema_version=SCHEMA_VERSION, version=snapshot.version))
            self._began_s = at_s
        self._write(Line(t=round(at_s - self._began_s, 4), snapshot=snapshot))

    def note(self, event: Event, at_s: float) -> None:
        """An event, on the same clock; those before the first snapshot are left out."""
        if self._began_s is not None:
            self._write(Line(t=round(at_s - self._began_s, 4), event=event))

    def close(self) -> None:
        """End the file."""
        with self._lock:
            try:
                self._file.close()
            except OSError as error:
                raise self._failure(error) from error

    def _write(self, line: msgspec.Struct) -> None:
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(self._encoder.encode(line) + b"\n")
                self._file.flush()
            except OSError as error:
                raise self._failure(error) from error

    def _failure(self, error: OSError) -> RecordingError:
        return RecordingError(f"cannot write {self._path}: {error.strerror or error}")


class RecordedFeed:
    """A feed whose news go into a recorder on their way; a pause holds them back only behind it."""

    def __init__(self, feed: Feed, recorder: Recorder, clock: Clock) -> None:
        """`clock`: the feed's."""
        self._feed = feed
        self._recorder = recorder
        self._clock = clock
        self._paused = False
        self.stop = feed.stop

    @property
    def title(self) -> str:
        """The feed's own."""
        return self._feed.title

    def pause(self, paused: bool) -> None:
        """Post no snapshots for a while, but record them; after a break the first one is posted all the same."""
        self._paused = paused

    def run(self, post: Post) -> None:
        """As the feed does, until the recording cannot be written any more."""
        was_broken = True

        def write_and_post(message: Message) -> object:
            nonlocal was_broken
            try:
                self._write(message)
            except RecordingError as error:
                self._feed.stop()
                return post(FeedFailed(str(error)))
            if isinstance(message, SnapshotCame) and self._paused and not was_broken:
                return None
            was_broken = isinstance(message, FeedBroke) or (was_broken and not isinstance(message, SnapshotCame))
            return post(message)

        self._feed.run(write_and_post)

    def _write(self, message: Message) -> None:
        if isinstance(message, SnapshotCame):
            self._recorder.take(message.snapshot, message.at_s)
        elif isinstance(message, EventCame):
            self._recorder.note(message.event, self._clock.now_s())


def read_recording(path: Path) -> Iterator[Line]:
    """Its lines, in order; raises RecordingError if it is none, is of another schema version, is damaged, or, at its
    end, if there was no snapshot."""
    number, has_snapshot = 1, False
    try:
        with _opened(path, "rb") as file:
            _check_header(path, file.readline())
            decoder = msgspec.json.Decoder(Line)
            for line in file:
                number += 1
                if line.strip():
                    read = decoder.decode(line)
                    has_snapshot = has_snapshot or read.snapshot is not None
                    yield read
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path}, line {number}: {error}") from error
    except zlib.error as error:
        raise RecordingError(f"{path} is damaged after line {number}: {error}") from error
    except EOFError as error:
        raise RecordingError(f"{path} ends in the middle; it was cut off after line {number}") from error
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    if not has_snapshot:
        raise RecordingError(f"{path} holds no snapshots")


def title_of(path: Path) -> str:
    """What a recording is called where it is shown."""
    return f"replay of {path.name}"


def _check_header(path: Path, line: bytes) -> None:
    try:
        header = msgspec.json.decode(line, type=_AnyHeader)
    except msgspec.MsgspecError:
        header = _AnyHeader()
    if header.format != _FORMAT:
        raise RecordingError(f"{path} is no recording; make one with: aquahost top --record FILE")
    if header.schema_version != SCHEMA_VERSION:
        raise RecordingError(
            f"{path} was recorded by aquahost {header.version or 'of unknown version'} with snapshots of version "
            f"{header.schema_version}; this one plays version {SCHEMA_VERSION}. Play it with the aquahost that made it"
        )


def _opened(path: Path, mode: Literal["rb", "wb"]) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, mode))
    return path.open(mode)

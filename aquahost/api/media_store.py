"""Images kept for a while, for clients that asked for a URL."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from aquahost.clock import Clock
from aquahost.units import MIB


@dataclass(frozen=True, slots=True)
class Media:
    """A file's content and MIME type."""

    data: bytes
    media_type: str
    expires_s: float


class MediaStore:
    """Owns files by names nobody can guess. The oldest go first, when they expire or to make room.

    A single file larger than `capacity_bytes` is kept alone.
    """

    def __init__(self, clock: Clock, *, capacity_bytes: int = 256 * MIB, keep_s: float = 3600.0) -> None:
        self._clock = clock
        self._capacity_bytes = capacity_bytes
        self._keep_s = keep_s
        self._files: OrderedDict[str, Media] = OrderedDict()
        self._used_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of all files."""
        return self._used_bytes

    def put(self, data: bytes, media_type: str) -> str:
        """Keep a file; returns its name."""
        self._drop_expired()
        while self._files and self._used_bytes + len(data) > self._capacity_bytes:
            self._drop_oldest()
        name = f"{secrets.token_urlsafe(24)}.{media_type.rpartition('/')[2]}"
        self._files[name] = Media(data, media_type, self._clock.now_s() + self._keep_s)
        self._used_bytes += len(data)
        return name

    def get(self, name: str) -> Media | None:
        """A file, or None if it is unknown or has expired."""
        self._drop_expired()
        return self._files.get(name)

    def _drop_expired(self) -> None:
        while self._files and next(iter(self._files.values())).expires_s <= self._clock.now_s():
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, media = self._files.popitem(last=False)
        self._used_bytes -= len(media.data)

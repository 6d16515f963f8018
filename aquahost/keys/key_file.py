"""The file that keys are kept in. Whoever runs the daemon changes it, with the daemon running or not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aquahost.config.paths import private_dirs
from aquahost.errors import ConfigError, StartError
from aquahost.keys.record import KeyRecord, digest_of, new_id, new_key

SCHEMA_VERSION = 1
Stamp = tuple[int, int, int]
"""Inode, time and size: another one for each content of the file."""


class _Content(msgspec.Struct, kw_only=True):
    schema_version: int
    keys: list[KeyRecord]


class _Version(msgspec.Struct):
    schema_version: int


class KeyFile:
    """Keys in one JSON file (0600), written whole or not at all, by one process at a time.

    Revoked keys stay in it: as long as there was ever a key, the daemon asks for one.
    """

    def __init__(self, path: Path) -> None:
        """`path` need not exist; the first key makes it, and its folder."""
        self.path = path

    def stamp(self) -> Stamp | None:
        """What tells whether the file has changed; None if there is no file. Costs microseconds. Raises OSError."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> list[KeyRecord]:
        """All keys, the oldest first; [] if there is no file. Raises ConfigError if it makes no sense, or if others may
        write it."""
        try:
            with self.path.open("rb") as file:
                _refuse_others(self.path, os.fstat(file.fileno()))
                text = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self.path}: the keys cannot be read: {error.strerror}") from error
        try:
            version = msgspec.json.decode(text, type=_Version).schema_version
            if version != SCHEMA_VERSION:
                raise ConfigError(
                    f"{self.path}: keys of version {version}; this aquahost knows version {SCHEMA_VERSION}"
                )
            return msgspec.json.decode(text, type=_Content).keys
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{self.path}: damaged ({error}); restore it, or remove it and make new keys with `aquahost keys add`"
            ) from error

    def add(
        self, name: str, *, weight: float | None = None, models: Sequence[str] | None = None, admin: bool = False
    ) -> tuple[KeyRecord, str]:
        """Make a key; returns what is kept of it, and the key itself, which nobody can tell again.

        Raises ConfigError, and StartError if the file cannot be written.
        """
        with self._changing() as keys:
            taken = {record.id for record in keys}
            while (key_id := new_id()) in taken:
                pass
            key = new_key(key_id)
            record = KeyRecord(
                id=key_id,
                name=name,
                digest=digest_of(key.encode()).hex(),
                created_at=_now(),
                admin=admin,
                weight=weight,
                models=None if models is None else tuple(models),
            )
            keys.append(record)
        return record, key

    def revoke(self, which: str) -> list[KeyRecord]:
        """Revoke the key of this id, else all live keys of this name; returns them, [] if there are none. Raises as
        `add` does."""
        with self._changing() as keys:
            live = [record for record in keys if record.is_live]
            found = [record for record in live if record.id == which] or [one for one in live if one.name == which]
            now = _now()
            for record in found:
                keys[keys.index(record)] = msgspec.structs.replace(record, revoked_at=now)
        return found

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[KeyRecord]]:
        """The keys, to be changed by nobody else meanwhile, and written if they have been."""
        folder = self.path.parent
        try:
            private_dirs(folder)
            # A file of its own, since the other one is replaced.
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.read()
            before = list(keys)
            yield keys
            if keys != before:
                self._write(keys)
        finally:
            os.close(lock)

    def _write(self, keys: list[KeyRecord]) -> None:
        content = _Content(schema_version=SCHEMA_VERSION, keys=keys)
        text = msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
        draft = ""
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".keys.", delete=False) as file:  # made 0600
                draft = file.name
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # a revoked key must not come back with the power
            os.replace(draft, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise _unwritable(self.path.parent, error) from error


def _refuse_others(path: Path, status: os.stat_result) -> None:
    """Digests may be read; but whoever can write them can let themselves in."""
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: belongs to another user; keys must be in a file of your own")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path}: others may write it; look at who has, then: chmod 600 {path}")


def _unwritable(folder: Path, error: OSError) -> StartError:
    return StartError(
        f"the keys cannot be kept in {folder}: {error.strerror}; set AQUAHOST_STATE_DIR to a folder of your own"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

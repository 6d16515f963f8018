"""A folder of results and files, each whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from aquahost.daemon.jobs.names import is_name

_DRAFT = ".draft-"


class Blobs:
    """Owns a private folder. Methods block, and raise OSError. Names are ids of `names`, whatever a client sent."""

    def __init__(self, folder: Path) -> None:
        """`folder` exists, and only one daemon uses it."""
        self._folder = folder

    def path(self, name: str) -> Path:
        """Where the blob of this name lies, or would."""
        if not is_name(name):
            raise ValueError("not a name of ours")
        return self._folder / name

    def write(self, name: str, data: bytes) -> None:
        """Keep `data`, in the place of what had this name."""
        with self.draft(name) as file:
            file.write(data)

    def copy(self, name: str, source: IO[bytes]) -> None:
        """Keep what is left to read of `source`."""
        with self.draft(name) as file:
            shutil.copyfileobj(source, file, 1 << 20)

    @contextmanager
    def draft(self, name: str) -> Iterator[IO[bytes]]:
        """A new file that gets its name once the context is left without an exception, and is then on the disk for
        good; otherwise it is removed."""
        target = self.path(name)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=_DRAFT, delete=False) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        self._sync_folder()

    def read(self, name: str) -> bytes:
        """All of a blob."""
        return self.path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Forget a blob; does nothing where there is none."""
        self.path(name).unlink(missing_ok=True)

    def keep_only(self, names: Collection[str]) -> int:
        """Remove whatever a killed daemon left unfinished or without a row; returns how many files."""
        strays = [entry.path for entry in os.scandir(self._folder) if entry.name not in names]
        for path in strays:
            os.unlink(path)
        return len(strays)

    def _sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

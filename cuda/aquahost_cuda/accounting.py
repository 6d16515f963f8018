"""Who holds how much of each GPU, across processes, right even when one is killed: where no driver counts it for us,
as for emulated GPUs, and for the parts of a real one.

Each opener of a folder keeps one record file and holds a lock (flock) on it while it lives. The kernel drops that lock
when the process dies, however it dies; whoever reads the records next removes the dead one. Records are read and
written under the folder's own lock, so what they say together never exceeds a GPU's capacity.

A record is a u64 count of private bytes for each GPU, then one (id, gpu, bytes) entry for each allocation that other
processes may hold too. Such an allocation counts once, for as long as any living record names it. A file descriptor
under way between processes is in no record, so unlike on hardware it holds no memory: where its exporter gave the
memory up or died before it is imported, the bytes are free in between, and whoever takes them and the importer may
together hold more than the GPU has. An exporter that keeps its handle until the import is done never meets this.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import uuid4

_ENTRY = struct.Struct("<16sQQ")
_SUFFIX = ".holdings"


class Accounts:
    """This opener's record, and the sum over everyone's. Safe for threads. OSError where the folder is unusable."""

    def __init__(self, folder: str, gpu_bytes: Sequence[int]) -> None:
        """Open the records in a folder, for GPUs with this much memory each. Raises ValueError if living processes
        have it open with other GPUs.
        """
        self._folder = folder
        self._gpu_bytes = list(gpu_bytes)
        self._private = [0] * len(gpu_bytes)
        self._counts = struct.Struct(f"<{len(gpu_bytes)}Q")
        self._shared: dict[bytes, tuple[int, int]] = {}
        self._mutex = threading.Lock()
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._lock = os.open(os.path.join(self._folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._name = f"{os.getpid()}-{uuid4().hex}{_SUFFIX}"
        self._record = -1
        try:
            with self._locked():
                self._agree_on_shape()
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._record = os.open(os.path.join(self._folder, self._name), flags, 0o600)
                fcntl.flock(self._record, fcntl.LOCK_EX)
                self._write()
        except BaseException:
            os.close(self._lock)
            raise

    def used_bytes(self) -> list[int]:
        """Bytes held on each GPU by all living processes."""
        with self._locked():
            return self._sum()

    def charge(self, gpu: int, nbytes: int) -> bool:
        """Hold `nbytes` more of `gpu`; False, and nothing held, if they are not free."""
        with self._locked():
            if self._sum()[gpu] + nbytes > self._gpu_bytes[gpu]:
                return False
            self._private[gpu] += nbytes
            self._write()
            return True

    def refund(self, gpu: int, nbytes: int) -> None:
        """Give private bytes back."""
        with self._locked():
            self._private[gpu] -= nbytes
            self._write()

    def share(self, key: bytes, gpu: int, nbytes: int) -> None:
        """From now on the private allocation `key` (16 bytes) may be held by others too."""
        with self._locked():
            self._private[gpu] -= nbytes
            self._shared[key] = (gpu, nbytes)
            self._write()

    def adopt(self, key: bytes, gpu: int, nbytes: int) -> None:
        """Hold an allocation that another process shares. Never refused: its memory exists already, and where no living
        record named it any more (see above), the GPU's free memory reads as 0 until there is room again.
        """
        with self._locked():
            self._shared[key] = (gpu, nbytes)
            self._write()

    def drop(self, key: bytes) -> None:
        """Stop holding a shared allocation."""
        with self._locked():
            del self._shared[key]
            self._write()

    def close(self) -> None:
        """Give everything back."""
        with self._locked():
            os.unlink(os.path.join(self._folder, self._name))
        os.close(self._record)
        os.close(self._lock)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mutex:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _agree_on_shape(self) -> None:
        """Note the GPUs in the folder, or check them against what living processes agreed on."""
        shape = {"gpu_bytes": self._gpu_bytes}
        path = os.path.join(self._folder, "shape.json")
        if any(True for _ in self._others()):
            with open(path, encoding="utf-8") as file:
                agreed = json.load(file)
            if agreed != shape:
                raise ValueError(f"the node in {self._folder} is open as {agreed}, so it can't be {shape}")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(shape, file)

    def _write(self) -> None:
        entries = (_ENTRY.pack(key, gpu, nbytes) for key, (gpu, nbytes) in self._shared.items())
        content = self._counts.pack(*self._private) + b"".join(entries)
        os.pwrite(self._record, content, 0)
        os.ftruncate(self._record, len(content))

    def _sum(self) -> list[int]:
        used = list(self._private)
        shared = dict(self._shared)
        for content in self._others():
            for gpu, nbytes in enumerate(self._counts.unpack_from(content)):
                used[gpu] += nbytes
            for key, gpu, nbytes in _ENTRY.iter_unpack(content[self._counts.size :]):
                shared[key] = (gpu, nbytes)
        for gpu, nbytes in shared.values():
            used[gpu] += nbytes
        return used

    def _others(self) -> Iterator[bytes]:
        """Records of the other living openers; those of dead ones are removed."""
        for name in os.listdir(self._folder):
            if not name.endswith(_SUFFIX) or name == self._name:
                continue
            path = os.path.join(self._folder, name)
            record = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _is_free(record):
                    os.unlink(path)
                else:
                    yield os.read(record, os.fstat(record).st_size)
            finally:
                os.close(record)


def _is_free(record: int) -> bool:
    try:
        fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

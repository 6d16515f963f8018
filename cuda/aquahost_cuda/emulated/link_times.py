"""Until when each directed link of a node is busy, for all processes that have the node open.

The times stand in one mapped file of the node's folder: the machine's boot id, then an f64 for each link, on the
monotonic clock, which all processes of a machine share. They are read and written under a lock of the file (flock) that
the kernel drops when its holder dies. What a killed process had taken stays taken until its time has passed, as a
copy under way on hardware would.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from aquahost_cuda.emulated.node import MAX_GPUS
from aquahost_cuda.emulated.refusal import require
from aquahost_cuda.emulated.types import CUresult

Link = tuple[int, int]
"""(source, target): GPU numbers, or HOST."""
_ENDS = MAX_GPUS + 1  # whatever a node's shape, so that it can be opened in another one later
_BOOT_BYTES = 16
_FILE_BYTES = _BOOT_BYTES + _ENDS * _ENDS * 8


class LinkTimes:
    """This opener's view of the times. Safe for threads. OSError where the folder is unusable."""

    def __init__(self, folder: str) -> None:
        """Open the file in a node's folder, or make it."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self._mutex = threading.Lock()
        self._open = True
        self._file = os.open(os.path.join(folder, "links"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Its size never shrinks, so nobody's mapping loses pages.
            os.posix_fallocate(self._file, 0, _FILE_BYTES)
            self._map = mmap.mmap(self._file, _FILE_BYTES)
        except BaseException:
            os.close(self._file)
            raise
        self._busy_until_s = memoryview(self._map)[_BOOT_BYTES:].cast("d")
        with self.locked():
            self._forget_an_earlier_boot()

    def take(self, durations_s: Mapping[Link, float], now_s: float) -> float:
        """Take each link for so long from when it is free, and return when the last is through.

        Refuses with CUDA_ERROR_DEINITIALIZED after `close`.
        """
        end_s = now_s
        with self.locked():
            for (source, target), duration_s in durations_s.items():
                slot = (source + 1) * _ENDS + target + 1  # HOST is -1
                until_s = max(now_s, self._busy_until_s[slot]) + duration_s
                self._busy_until_s[slot] = until_s
                end_s = max(end_s, until_s)
        return end_s

    def close(self) -> None:
        """Let the file go; more than once is harmless."""
        with self._mutex:
            if not self._open:
                return
            self._open = False
            self._busy_until_s.release()
            self._map.close()
            os.close(self._file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other thread and no other process reads or writes the times within. Refuses after `close`."""
        with self._mutex:
            require(self._open, CUresult.CUDA_ERROR_DEINITIALIZED)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _forget_an_earlier_boot(self) -> None:
        """Times of an earlier boot mean nothing: the monotonic clock began again."""
        try:
            boot = UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
        except (OSError, ValueError):  # some sandboxes hide it; a node's folder hardly outlives a boot
            boot = bytes(_BOOT_BYTES)
        if self._map[:_BOOT_BYTES] != boot:
            self._map[:] = boot.ljust(_FILE_BYTES, b"\0")

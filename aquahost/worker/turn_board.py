"""What the workers on one GPU write down for each other: a small file that all of them have mapped."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aquahost.scheduling.gpu_turns import Sharer, Turn

MOST_SLOTS = 32
_WORD_BYTES = 8
_HOLDER, _FREED_S, _USED = range(3)
"""Words of the header: the holder's slot and 1, or 0; when the turn was let go; slots that were ever used."""
_HEADER_WORDS = 8
_WANTS, _VIRTUAL_S, _SEEN_S = range(3)
"""Words of a slot."""
_SLOT_WORDS = 4
_NBYTES = _WORD_BYTES * (_HEADER_WORDS + MOST_SLOTS * _SLOT_WORDS)
_RETRY_S = 50e-6


class NoSlotError(Exception):
    """This worker cannot take part; the text says why."""


class TurnBoard:
    """One worker's place on the board of its GPU. Belongs to one thread.

    A worker writes only its own slot, one aligned word at a time, so that others read it without a lock; whose turn it
    is changes only under the board's lock. A slot is its worker's while the worker has the file beside the board
    locked, and the kernel drops both locks when the process ends, however it ends.
    """

    def __init__(self, path: str, *, patience_s: float) -> None:
        """Take a slot. Raises NoSlotError if none is free, or if the board stays locked for `patience_s`; OSError."""
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._life: int | None = None
        try:
            with self.locked(patience_s) as mine:
                if not mine:
                    raise NoSlotError(f"{path} stayed locked for {patience_s:g} s")
                if os.fstat(self._fd).st_size < _NBYTES:
                    os.ftruncate(self._fd, _NBYTES)
                self._map = mmap.mmap(self._fd, _NBYTES)
                self._counts = memoryview(self._map).cast("q")
                self._times = memoryview(self._map).cast("d")
                self.slot, self._life = self._take_slot()
                self._clear()
        except BaseException:
            os.close(self._fd)
            raise

    @contextmanager
    def locked(self, patience_s: float) -> Iterator[bool]:
        """Hold the board's lock; entered with False if it is not to be had in this time. Others hold it for
        microseconds, unless they are stopped just then."""
        mine = _lock(self._fd, patience_s)
        try:
            yield mine
        finally:
            if mine:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    # -- reading -----------------------------------------------------------------------------------------------

    def turn(self) -> Turn:
        """Whose turn it is."""
        number = self._counts[_HOLDER]
        return Turn(number - 1 if number else None, self._times[_FREED_S])

    def sharer(self, slot: int) -> Sharer:
        """What a slot says."""
        at = _at(slot)
        return Sharer(slot, self._counts[at + _WANTS] != 0, self._times[at + _VIRTUAL_S], self._times[at + _SEEN_S])

    def sharers(self) -> list[Sharer]:
        """What all slots say that were ever used, this one's included."""
        return [self.sharer(slot) for slot in range(self._counts[_USED])]

    def has_ended(self, slot: int) -> bool:
        """Whether the worker of another slot is gone. Only under the board's lock, else it takes a slot for gone or a
        gone one's for taken."""
        try:
            fd = os.open(self._life_path(slot), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return _lock(fd, 0.0)
        finally:
            os.close(fd)

    # -- writing -----------------------------------------------------------------------------------------------

    def write(self, *, now_s: float, wants: bool, virtual_s: float) -> None:
        """Write down this worker's state."""
        at = _at(self.slot)
        self._times[at + _VIRTUAL_S] = virtual_s
        self._times[at + _SEEN_S] = now_s
        self._counts[at + _WANTS] = wants

    def hold(self) -> None:
        """It is this worker's turn. Only under the board's lock."""
        self._counts[_HOLDER] = self.slot + 1

    def free(self, now_s: float) -> None:
        """It is nobody's turn. Only under the board's lock."""
        self._times[_FREED_S] = now_s
        self._counts[_HOLDER] = 0

    def close(self) -> None:
        """Give the slot up, and the turn if it is this worker's; more than once is harmless."""
        if self._life is None:
            return
        self._clear()
        os.close(self._life)
        self._life = None
        self._counts.release()
        self._times.release()
        self._map.close()
        os.close(self._fd)

    # -- slots -------------------------------------------------------------------------------------------------

    def _take_slot(self) -> tuple[int, int]:
        for slot in range(MOST_SLOTS):
            life = os.open(self._life_path(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _lock(life, 0.0):
                self._counts[_USED] = max(self._counts[_USED], slot + 1)
                return slot, life
            os.close(life)
        raise NoSlotError(f"{MOST_SLOTS} workers share {self._path} already")

    def _clear(self) -> None:
        """Leave nothing of an earlier worker of this slot: it may have died while it was its turn."""
        self.write(now_s=0.0, wants=False, virtual_s=0.0)
        if self._counts[_HOLDER] == self.slot + 1:
            self._counts[_HOLDER] = 0

    def _life_path(self, slot: int) -> str:
        return f"{self._path}.{slot}"


def _at(slot: int) -> int:
    return _HEADER_WORDS + slot * _SLOT_WORDS


def _lock(fd: int, patience_s: float) -> bool:
    """Lock a file, trying for so long; never waits in the kernel, where nothing could be given up."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_RETRY_S)
        else:
            return True

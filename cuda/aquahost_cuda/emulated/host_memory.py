"""Linux's mmap family by address, which Python's mmap module does not offer. Every error becomes an OSError."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

PROT_NONE = 0
PROT_READ = 1
PROT_WRITE = 2
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_PR_SET_TIMERSLACK = 29


class HostMemory:
    """Calls into the C library; holds nothing but its entry points."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._mmap: Any = libc.mmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long]
        self._munmap: Any = libc.munmap
        self._munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._mprotect: Any = libc.mprotect
        self._mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._prctl: Any = libc.prctl

    def reserve(self, size: int, alignment: int) -> int:
        """An unused range of `size` bytes at a multiple of `alignment` (a power of two) that nobody may touch."""
        padded = size + alignment - mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        start = self._map(None, padded, PROT_NONE, flags, -1, 0)
        address = (start + alignment - 1) & -alignment
        if address > start:
            self.unmap(start, address - start)
        tail = start + padded - (address + size)
        if tail:
            self.unmap(address + size, tail)
        return address

    def allocate(self, size: int) -> int:
        """`size` bytes of fresh zeroed private memory, page-aligned, readable and writable."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        return self._map(None, size, PROT_READ | PROT_WRITE, flags, -1, 0)

    def map_file(self, address: int, size: int, descriptor: int, offset: int) -> None:
        """Put `descriptor`'s bytes at `address`, with no access yet."""
        self._map(address, size, PROT_NONE, mmap.MAP_SHARED | _MAP_FIXED, descriptor, offset)

    def vacate(self, address: int, size: int) -> None:
        """Replace whatever is mapped at `address` by an untouchable reservation."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE | _MAP_FIXED
        self._map(address, size, PROT_NONE, flags, -1, 0)

    def protect(self, address: int, size: int, protection: int) -> None:
        """Set what the process may do at `address`."""
        if self._mprotect(address, size, protection):
            raise _error()

    def unmap(self, address: int, size: int) -> None:
        """Give the range back."""
        if self._munmap(address, size):
            raise _error()

    def sharpen_sleep(self) -> None:
        """Let the calling thread's sleeps end within microseconds; Linux adds 50 by default."""
        self._prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)

    def _map(self, address: int | None, size: int, protection: int, flags: int, descriptor: int, offset: int) -> int:
        mapped = self._mmap(address, size, protection, flags, descriptor, offset)
        if mapped is None or mapped == ctypes.c_void_p(-1).value:
            raise _error()
        return int(mapped)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

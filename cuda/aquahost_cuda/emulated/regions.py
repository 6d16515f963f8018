"""Address ranges of one process: reservations, and what is mapped or allocated in the address space."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from aquahost_cuda.emulated.types import CUmemAccess_flags

READ = int(CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READ)
READ_WRITE = int(CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE)


@dataclass(slots=True, kw_only=True, eq=False)
class Allocation:
    """Physical memory; freed when neither a handle nor a mapping is left."""

    place: int
    """GPU number, or HOST."""
    nbytes: int
    descriptor: int
    """memfd; closed, and -1, once no handle is left: mappings keep the memory by themselves."""
    key: bytes
    """Identity among all processes, 16 bytes."""
    exportable: bool
    shared: bool = False
    """Counted in the record as something others may hold too."""
    handles: int = 0
    mappings: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Reservation:
    """Addresses nobody else will be given."""

    address: int
    nbytes: int


@dataclass(slots=True, kw_only=True, eq=False)
class Region:
    """Memory that can be copied to and from: a mapping, a plain device allocation, or pinned host memory."""

    address: int
    nbytes: int
    place: int
    """GPU number, or HOST."""
    allocation: Allocation | None = None
    """What a mapping maps; None for memory that is no mapping."""
    rights: dict[int, int] = field(default_factory=dict)
    """Access flags by GPU number, or HOST."""
    open_to_all: bool = False
    """Pinned host memory: every GPU may read and write it."""
    users: int = 0
    """Copies that move its bytes at this very moment."""
    gone: bool = False
    """Unmapped or freed, or about to be; copies still queued must not touch its addresses."""

    def permits(self, place: int, flags: int) -> bool:
        """Whether `place` has all rights in `flags`."""
        return self.open_to_all or self.rights.get(place, 0) & flags == flags


class Range(Protocol):
    """Anything with a place in the address space."""

    @property
    def address(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


R = TypeVar("R", bound=Range)


class RangeMap(Generic[R]):
    """Ranges that don't overlap, found by any address within."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ranges: dict[int, R] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[R]:
        return iter([self._ranges[start] for start in self._starts])

    def add(self, item: R) -> None:
        """Take in a range that overlaps no other."""
        insort(self._starts, item.address)
        self._ranges[item.address] = item

    def remove(self, item: R) -> None:
        """Forget a range that is in the map."""
        del self._ranges[item.address]
        del self._starts[bisect_right(self._starts, item.address) - 1]

    def at(self, address: int) -> R | None:
        """The range that starts at exactly this address."""
        return self._ranges.get(address)

    def holding(self, address: int) -> R | None:
        """The range that contains this address."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        item = self._ranges[self._starts[index]]
        return item if address < item.address + item.nbytes else None

    def within(self, address: int, nbytes: int) -> list[R]:
        """Ranges that overlap [address, address + nbytes), in order of address."""
        index = bisect_right(self._starts, address)
        found: list[R] = []
        before = self.holding(address)
        if before is not None:
            found.append(before)
        while index < len(self._starts) and self._starts[index] < address + nbytes:
            found.append(self._ranges[self._starts[index]])
            index += 1
        return found

"""One address range whose chunks get and lose physical memory while addresses never change."""

from __future__ import annotations

from types import TracebackType

from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Location, grant, granularity, map_memory, reserve, round_up, unmap_memory, unreserve


class Arena:
    """A reservation of `capacity_bytes`, cut into chunks, of which a prefix is mapped for its GPU to read and write.

    Touching addresses beyond `mapped_bytes` is an error: on a GPU a fault, on the emulated driver a segmentation
    fault. Not safe for threads: one owner grows and shrinks it.
    """

    def __init__(self, driver: Driver, device_index: int, capacity_bytes: int, chunk_bytes: int) -> None:
        """Reserve addresses; no memory yet. Both sizes are rounded up: a chunk to the GPU's granularity, the capacity
        to whole chunks. Raises DriverError, or ValueError if they are no sizes.
        """
        if capacity_bytes <= 0 or chunk_bytes <= 0:
            raise ValueError(f"an arena of {capacity_bytes} bytes in chunks of {chunk_bytes} can't be made")
        self._driver = driver
        self._local = Location.device(device_index)
        self.chunk_bytes = round_up(chunk_bytes, granularity(driver, self._local))
        """Size of a chunk."""
        self.capacity_bytes = round_up(capacity_bytes, self.chunk_bytes)
        """Size of the whole address range."""
        self._chunks: list[Location] = []
        self.address = reserve(driver, self.capacity_bytes)
        """Where chunk 0 begins."""
        self._open = True

    @property
    def mapped_chunks(self) -> int:
        """Chunks that have memory: the first so many."""
        return len(self._chunks)

    @property
    def mapped_bytes(self) -> int:
        """Bytes that may be used, from `address` on."""
        return len(self._chunks) * self.chunk_bytes

    @property
    def capacity_chunks(self) -> int:
        """Chunks that there can be."""
        return self.capacity_bytes // self.chunk_bytes

    def locations(self) -> tuple[Location, ...]:
        """Where the memory of each mapped chunk lies."""
        return tuple(self._chunks)

    def grow(self, chunks: int) -> None:
        """Give the next `chunks` chunks memory, all or none of them.

        Raises OutOfMemoryError if the GPU has no room, ValueError if the arena has none or is closed, or DriverError.
        """
        if not self._open:
            raise ValueError("the arena is closed: its addresses are given back")
        if not 0 <= chunks <= self.capacity_chunks - len(self._chunks):
            raise ValueError(
                f"can't grow by {chunks} chunks: {len(self._chunks)} of {self.capacity_chunks} are mapped already"
            )
        if not chunks:
            return
        before = len(self._chunks)
        try:
            for _ in range(chunks):
                map_memory(self._driver, self._address_of(len(self._chunks)), self.chunk_bytes, self._local)
                self._chunks.append(self._local)
            # One call for all new chunks: setting access costs tens of microseconds each time.
            grant(self._driver, self._address_of(before), chunks * self.chunk_bytes, [self._local])
        except BaseException:
            self._unmap_down_to(before)
            raise

    def shrink(self, chunks: int) -> None:
        """Take the memory of the last `chunks` chunks away; the GPU's work on them must be done.

        Raises ValueError if there are fewer, or DriverError.
        """
        if not 0 <= chunks <= len(self._chunks):
            raise ValueError(f"can't shrink by {chunks} chunks: only {len(self._chunks)} are mapped")
        self._unmap_down_to(len(self._chunks) - chunks)

    def close(self) -> None:
        """Free all memory, then the addresses; more than once is harmless. The GPU's work on it must be done."""
        if not self._open:
            return
        self._open = False
        # Addresses last: a reservation can't be freed while memory is mapped in it.
        try:
            self._unmap_down_to(0)
        finally:
            unreserve(self._driver, self.address, self.capacity_bytes)

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _address_of(self, chunk: int) -> int:
        return self.address + chunk * self.chunk_bytes

    def _unmap_down_to(self, chunks: int) -> None:
        while len(self._chunks) > chunks:
            # Chunk by chunk: "cuMemUnmap cannot unmap a sub-range", and each was mapped by a call of its own.
            unmap_memory(self._driver, self._address_of(len(self._chunks) - 1), self.chunk_bytes)
            self._chunks.pop()

"""One address range whose chunks get, lose and change physical memory while addresses never change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import (
    Location,
    create_memory,
    grant,
    granularity,
    host_node,
    map_handle,
    map_memory,
    release_memory,
    reserve,
    round_up,
    unmap_memory,
    unreserve,
)


class Arena:
    """A reservation of `capacity_bytes`, cut into chunks. Any of them may have memory: of the arena's own GPU, of
    another GPU, or of the host.

    Its GPU reads and writes all of them; no other GPU gets access, and none needs a context in this process: access to
    other GPUs' memory is "explicitly specified" mapping by mapping (cuMemSetAccess), without cuCtxEnablePeerAccess.
    Touching a chunk without memory is an error: on a GPU a fault, on the emulated driver a segmentation fault. Not safe
    for threads: one owner maps and unmaps.
    """

    def __init__(self, driver: Driver, device_index: int, capacity_bytes: int, chunk_bytes: int) -> None:
        """Reserve addresses; no memory yet. Both sizes are rounded up: a chunk to the largest granularity among the
        places its memory may lie at, the capacity to whole chunks. Raises DriverError, or ValueError if they are no
        sizes.
        """
        if capacity_bytes <= 0 or chunk_bytes <= 0:
            raise ValueError(f"an arena of {capacity_bytes} bytes in chunks of {chunk_bytes} can't be made")
        self._driver = driver
        self._local = Location.device(device_index)
        self._host_node = host_node(driver, device_index)
        self.chunk_bytes = round_up(chunk_bytes, common_granularity(driver, self._local))
        """Size of a chunk."""
        self.capacity_bytes = round_up(capacity_bytes, self.chunk_bytes)
        """Size of the whole address range."""
        self._chunks: list[Location | None] = [None] * (self.capacity_bytes // self.chunk_bytes)
        self._moves: dict[int, ChunkMove] = {}
        self.address = reserve(driver, self.capacity_bytes)
        """Where chunk 0 begins."""
        self._open = True

    @property
    def capacity_chunks(self) -> int:
        """Chunks that there are, with memory or without."""
        return len(self._chunks)

    @property
    def mapped_bytes(self) -> int:
        """Bytes of the chunks that have memory, wherever it lies."""
        return (len(self._chunks) - self._chunks.count(None)) * self.chunk_bytes

    def location(self, chunk: int) -> Location | None:
        """Where a chunk's memory lies, in the words it was asked for with; None if it has none."""
        return self._chunks[chunk]

    def locations(self) -> tuple[Location | None, ...]:
        """`location` of each chunk of the range."""
        return tuple(self._chunks)

    def bytes_at(self, location: Location) -> int:
        """Bytes of the chunks whose memory lies at `location`; that of moves under way is not counted."""
        return self._chunks.count(location) * self.chunk_bytes

    def grow(self, chunks: int, location: Location | None = None) -> list[int]:
        """Give the lowest `chunks` chunks without memory some at `location` (this GPU's, if None): all or none.

        Returns which they are. Raises OutOfMemoryError if there is no room for the memory, ValueError if the arena has
        not so many chunks left or is closed, or DriverError.
        """
        self._demand_open()
        vacant = [chunk for chunk, at in enumerate(self._chunks) if at is None]
        if not 0 <= chunks <= len(vacant):
            mapped = len(self._chunks) - len(vacant)
            raise ValueError(f"can't grow by {chunks} chunks: {mapped} of {len(self._chunks)} are mapped already")
        self.map(vacant[:chunks], location or self._local)
        return vacant[:chunks]

    def map(self, chunks: Sequence[int], location: Location) -> None:
        """Give these chunks memory at `location`, all or none of them; host memory on the NUMA node nearest to this
        GPU, unless another is named.

        Raises OutOfMemoryError if there is no room, ValueError if one of them has memory already or is named twice, or
        DriverError: CUDA_ERROR_INVALID_DEVICE where this GPU can't reach that one's memory.
        """
        self._demand_open()
        wanted = sorted(chunks)
        for chunk in wanted:
            if self._chunks[self._checked(chunk)] is not None:
                raise ValueError(f"can't map chunk {chunk}: it has memory already")
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"can't map chunks {wanted}: one of them is named twice")
        done: list[int] = []
        lies = location.near(self._host_node)
        try:
            for chunk in wanted:
                map_memory(self._driver, self._address_of(chunk), self.chunk_bytes, lies)
                self._chunks[chunk] = location
                done.append(chunk)
            # One call for each run of chunks: setting access costs tens of microseconds each time.
            for first, count in _runs(wanted):
                grant(self._driver, self._address_of(first), count * self.chunk_bytes, [self._local])
        except BaseException:
            self._unmap(done)
            raise

    def unmap(self, chunks: Sequence[int]) -> None:
        """Take these chunks' memory away; the GPU's work on them must be done.

        Raises ValueError, and does nothing, if one of them has no memory, is being moved or is named twice. Raises
        DriverError, after having unmapped all it could.
        """
        for chunk in chunks:
            if self._chunks[self._checked(chunk)] is None:
                raise ValueError(f"can't unmap chunk {chunk}: it has no memory")
            if chunk in self._moves:
                raise ValueError(f"can't unmap chunk {chunk}: it is being moved")
        if len(set(chunks)) < len(chunks):
            raise ValueError(f"can't unmap chunks {list(chunks)}: one of them is named twice")
        self._unmap(chunks)

    def begin_move(self, chunk: int, location: Location) -> ChunkMove:
        """Get new memory for a chunk at `location`, mapped at addresses of its own until its bytes are there.

        Until the move's `finish`, both memories are held. Raises OutOfMemoryError if there is no room, ValueError if
        the chunk has no memory or is being moved already, or DriverError; nothing is left behind then.
        """
        self._demand_open()
        if self._chunks[self._checked(chunk)] is None:
            raise ValueError(f"can't move chunk {chunk}: it has no memory")
        if chunk in self._moves:
            raise ValueError(f"can't move chunk {chunk}: it is being moved already")
        driver, nbytes = self._driver, self.chunk_bytes
        with ExitStack() as undo:  # last in, first out: unmap, free the addresses, release the handle
            handle = create_memory(driver, nbytes, location.near(self._host_node))
            undo.callback(release_memory, driver, handle)
            scratch = reserve(driver, nbytes)
            undo.callback(unreserve, driver, scratch, nbytes)
            map_handle(driver, scratch, nbytes, handle)
            undo.callback(unmap_memory, driver, scratch, nbytes)
            grant(driver, scratch, nbytes, [self._local])
            move = ChunkMove(self, chunk, location, scratch, handle, undo.pop_all())
        self._moves[chunk] = move
        return move

    def end_move(self, move: ChunkMove, handle: Any | None) -> None:
        """Put the memory of `handle` in the place of the chunk's own, unless it is None. For ChunkMove alone."""
        del self._moves[move.chunk]
        if handle is None:
            return
        driver, address, nbytes = self._driver, self._address_of(move.chunk), self.chunk_bytes
        # The old memory first: cuMemMap "can only create mappings on VA range reservations that are not currently
        # mapped". It has no handle any more, so it is free at once.
        self._unmap([move.chunk])
        # The same memory at a second address: what was written through the scratch addresses is seen here by work that
        # starts after the writing operation is complete (CUDA C++ Programming Guide, "Virtual Aliasing Support").
        map_handle(driver, address, nbytes, handle)
        self._chunks[move.chunk] = move.location
        try:
            # "Any new mapping to this virtual address will need to have access granted" (cuMemUnmap).
            grant(driver, address, nbytes, [self._local])
        except BaseException:
            self._unmap([move.chunk])
            raise

    def close(self) -> None:
        """Abandon moves, free all memory, then the addresses; more than once is harmless.

        The GPU's work on it must be done. Raises DriverError, after having given back all it could.
        """
        if not self._open:
            return
        self._open = False
        with ExitStack() as last:  # whatever fails, the rest is done
            # Addresses last: a reservation can't be freed while memory is mapped in it.
            last.callback(unreserve, self._driver, self.address, self.capacity_bytes)
            last.callback(lambda: self._unmap([chunk for chunk, at in enumerate(self._chunks) if at is not None]))
            for move in list(self._moves.values()):
                last.callback(move.abandon)

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _demand_open(self) -> None:
        if not self._open:
            raise ValueError("the arena is closed: its addresses are given back")

    def _checked(self, chunk: int) -> int:
        if not 0 <= chunk < len(self._chunks):
            raise ValueError(f"there is no chunk {chunk}: the arena has {len(self._chunks)}")
        return chunk

    def _address_of(self, chunk: int) -> int:
        return self.address + chunk * self.chunk_bytes

    def _unmap(self, chunks: Sequence[int]) -> None:
        with ExitStack() as each:  # whatever fails, the rest is done
            for chunk in chunks:
                each.callback(self._unmap_one, chunk)

    def _unmap_one(self, chunk: int) -> None:
        # Chunk by chunk: "cuMemUnmap cannot unmap a sub-range", and each was mapped by a call of its own.
        unmap_memory(self._driver, self._address_of(chunk), self.chunk_bytes)
        self._chunks[chunk] = None


class ChunkMove:
    """New memory for a chunk, waiting for its bytes. `finish` or `abandon` ends it; the arena's `close` abandons it.

    It holds one handle (on the emulated driver a file descriptor) and addresses of its own until it ends.
    """

    def __init__(
        self, arena: Arena, chunk: int, location: Location, address: int, handle: Any, scratch: ExitStack
    ) -> None:
        """Made by Arena.begin_move alone; `scratch` frees the addresses and the handle."""
        self._arena = arena
        self.chunk = chunk
        """Which chunk moves."""
        self.location = location
        """Where to."""
        self.address = address
        """Where to copy the chunk's bytes to; this GPU may read and write there until the move ends."""
        self._handle = handle
        self._scratch: ExitStack | None = scratch

    def finish(self) -> None:
        """Let the chunk's addresses mean the new memory, and free the old; the copies and the GPU's work on the chunk
        must be done. The move is over afterwards, also after an error.

        Raises DriverError: the chunk is as before if its old memory could not be unmapped (`Arena.location` tells),
        else it has no memory any more and its bytes are lost. Raises ValueError if the move was over before.
        """
        self._end(self._handle)

    def abandon(self) -> None:
        """Give the new memory back; copies to it must be done. The chunk is as before.

        Raises DriverError, after having given back all it could, or ValueError if the move was over before.
        """
        self._end(None)

    def _end(self, handle: Any | None) -> None:
        scratch, self._scratch = self._scratch, None
        if scratch is None:
            raise ValueError(f"the move of chunk {self.chunk} is over already")
        # Freed after the chunk has the new memory, and whatever happens: until then the handle keeps it alive.
        with scratch:
            self._arena.end_move(self, handle)


def common_granularity(driver: Driver, local: Location) -> int:
    """What fits memory of this GPU, of each GPU that may lend to it, and of the host."""
    sizes = [granularity(driver, local)]
    others = [Location.device(index) for index in range(int(call(driver.cuDeviceGetCount)))]
    for location in (*others, Location.host(host_node(driver, local.index))):
        # Who can't say (a lost GPU, a driver without VMM for host memory) can't give any either.
        with suppress(DriverError):
            sizes.append(granularity(driver, location))
    return max(sizes)


def _runs(chunks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, count) of each run of consecutive numbers in an ascending sequence."""
    start = 0
    for end in range(1, len(chunks) + 1):
        if end == len(chunks) or chunks[end] != chunks[end - 1] + 1:
            yield chunks[start], end - start
            start = end

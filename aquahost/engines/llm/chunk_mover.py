"""Exchanging the memory behind a chunk's addresses: copies beside the steps, the exchange itself between two steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_runs import block_runs
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost_cuda.arena import ChunkMove
from aquahost_cuda.check import DriverError
from aquahost_cuda.copies import Copy, Direction, Transfer
from aquahost_cuda.vmm import Location

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Move:
    chunk: int
    target: int | None
    """Lease that the chunk goes to; None is host memory."""
    move: ChunkMove
    transfer: Transfer
    nbytes: int
    written: set[int] = field(default_factory=set)
    """Blocks of the chunk that steps have written since the copies began."""


class ChunkMover:
    """Moves chunks from where they lie to a lease or to the host, without any block table changing.

    While a chunk moves, its blocks are read and written where they were, no new block of it is given out, and no new
    paging touches it. What was written meanwhile is copied once more, waited for, just before the exchange.
    """

    def __init__(self, memory: KvMemory, device: EngineDevice, returned: Callable[[int, int], None]) -> None:
        """`returned` is told of leases that give bytes back: lease id and bytes."""
        self._memory = memory
        self._device = device
        self._returned = returned
        self._moves: dict[int, _Move] = {}

    @property
    def under_way(self) -> int:
        """Moves that have begun and not ended."""
        return len(self._moves)

    def is_target(self, lease_id: int) -> bool:
        """Whether a chunk is on its way into this lease."""
        return any(move.target == lease_id for move in self._moves.values())

    def begin(self, chunk: int, target: int | None) -> bool:
        """Begin to move a chunk, taking the memory of an empty chunk of lease `target`, or of the host for None.

        False, with nothing changed but perhaps that empty chunk gone back to its donor, if there is no room after all.
        Raises DriverError, likewise, if what the chunk holds can't be read.
        """
        memory = self._memory
        if target is None:
            location = Location.host()
        else:
            spare = self.empty_chunk(target)
            if spare is None:
                return False
            location = Location.device(memory.leases[target].donor)
            memory.unmap(spare)
        try:
            move = memory.arena.begin_move(chunk, location)
        except DriverError as error:
            logger.warning("chunk %d can't be moved to %s: %s", chunk, location, error)
            if target is None:
                memory.host_chunks = memory.mapped_host
            else:
                self._returned(target, memory.chunk_bytes)
            return False
        memory.pool.close(chunk)
        memory.moving.add(chunk)
        used = memory.pool.used_ids(chunk)
        try:
            transfer = self._copy(move, used)
        except DriverError:
            self._undo(chunk, target, move)
            raise
        self._moves[chunk] = _Move(chunk, target, move, transfer, len(used) * memory.block_bytes)
        memory.reserved_host += target is None
        return True

    def empty_chunks(self, lease_id: int) -> list[int]:
        """Chunks of a lease that no block is given out of and that do not move, highest first."""
        memory = self._memory
        chunks = sorted(memory.leases[lease_id].chunks - memory.moving, reverse=True)
        return [chunk for chunk in chunks if not memory.pool.used(chunk)]

    def empty_chunk(self, lease_id: int) -> int | None:
        """The highest of them."""
        return next(iter(self.empty_chunks(lease_id)), None)

    def note_written(self, block_ids: set[int]) -> None:
        """A step has written these blocks."""
        for move in self._moves.values():
            move.written |= block_ids & set(self._memory.block_ids(move.chunk))

    def poll(self) -> None:
        """Exchange the memory of chunks whose bytes have arrived and that no paging touches. Raises DriverError if a
        copy failed: what the chunk held may then be lost with the GPU."""
        for move in list(self._moves.values()):
            if move.transfer.done() and not self._memory.pins[move.chunk]:
                self._finish(move)

    def abandon(self, lease_id: int) -> None:
        """Give up the moves to or from a lease whose memory is gone, once their copies have ended."""
        leaving = self._memory.leases[lease_id].chunks
        for move in list(self._moves.values()):
            if move.target == lease_id or move.chunk in leaving:
                move.transfer.wait()
                self._end(move)
                self._undo(move.chunk, None if move.target == lease_id else move.target, move.move)

    def close(self) -> None:
        """Forget what is under way; the arena gives its memory back."""
        self._moves.clear()

    def _finish(self, move: _Move) -> None:
        if move.written:
            # One block at most of each prompt that runs here in place: worth waiting for, so that nothing is lost.
            self._copy(move.move, sorted(move.written)).wait()
        memory = self._memory
        self._device.finish_work()
        source, before = memory.lease_of(move.chunk), memory.place_of(move.chunk)
        move.move.finish()
        self._end(move)
        memory.moved(move.chunk, move.target)
        memory.traffic.moved(before, memory.place_of(move.chunk), move.nbytes)
        if source is not None:
            self._returned(source, memory.chunk_bytes)

    def _end(self, move: _Move) -> None:
        del self._moves[move.chunk]
        self._memory.moving.discard(move.chunk)
        self._memory.reserved_host -= move.target is None

    def _undo(self, chunk: int, target: int | None, move: ChunkMove) -> None:
        """Leave a chunk where it is; what its move had of lease `target` goes back to the donor."""
        self._device.copies.synchronize()
        move.abandon()
        self._memory.moving.discard(chunk)
        self._memory.reopen(chunk)
        if target is not None:
            self._returned(target, self._memory.chunk_bytes)

    def _copy(self, move: ChunkMove, block_ids: list[int]) -> Transfer:
        """On the stream of page-outs, whatever the way: those that write the chunk at this moment come first."""
        memory = self._memory
        shift = move.address - memory.address(memory.block_ids(move.chunk)[0])
        copies = [
            Copy(memory.address(run.source) + shift, memory.address(run.source), run.blocks * memory.block_bytes)
            for run in block_runs(zip(block_ids, block_ids, strict=True), memory.pool.chunk_blocks)
        ]
        return self._device.copies.copy(Direction.OUT, copies, after=self._device.compute_stream)

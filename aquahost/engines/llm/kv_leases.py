"""Leases as the language engine carries them out: mapped when granted, given back when recalled or not needed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.chunk_mover import ChunkMover
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.residence import NO_COPY, Residence
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.leasing.recall_plan import Assignment, LentChunk, Target, plan_recall
from aquahost.messages.memory import (
    LeaseFailed,
    LeaseGranted,
    LeaseLost,
    LeaseMapped,
    LeaseRecalled,
    LeaseReturned,
    MemoryInstruction,
)
from aquahost_cuda.check import DriverError

logger = logging.getLogger(__name__)

MOST_MOVES = 2
"""Chunks that move at the same time: one's exchange hides behind the other's copies."""


class KvLeases:
    """Owns the leases of one language model and the moves of chunks into and out of them.

    What is recalled goes, chunk by chunk: an empty chunk at once; mere copies are dropped; anything else moves to an
    empty chunk of another lease, else to the host, else the prompts that lie there are lost and computed again.
    """

    def __init__(
        self,
        memory: KvMemory,
        device: EngineDevice,
        *,
        residences: Callable[[], Iterable[Residence]],
        lose_chunk: Callable[[int], None],
    ) -> None:
        """`residences`: of prompts whose copies may be dropped; `lose_chunk`: end what all prompts hold in a chunk."""
        self._memory = memory
        self._desk: MemoryDesk = device.desk
        self._residences = residences
        self._lose_chunk = lose_chunk
        self._keep_chunks: dict[int, int] = {}
        """By lease: how many chunks of it may be kept, where the donor wants some back."""
        self._lost: dict[int, str | None] = {}
        """Leases whose memory is out of reach, each with what the broker is still to be told of it."""
        self.mover = ChunkMover(memory, device, self._tell_returned)

    @property
    def is_busy(self) -> bool:
        """Whether there is something to see to between steps."""
        return bool(self._keep_chunks or self._lost or self.mover.under_way)

    @property
    def is_recalled(self) -> bool:
        """Whether a donor waits for memory."""
        return bool(self._keep_chunks)

    # -- the broker's words ------------------------------------------------------------------------------------

    def on_memory(self, message: MemoryInstruction) -> None:
        """Take in what the broker says of a lease."""
        match message:
            case LeaseGranted():
                self._map(message)
            case LeaseRecalled(lease_id, keep_bytes) if self._is_steady(lease_id):
                keep = keep_bytes // self._memory.chunk_bytes
                self._keep_chunks[lease_id] = min(keep, self._keep_chunks.get(lease_id, keep))
            case LeaseLost(lease_id) if self._is_steady(lease_id):
                self._lose(lease_id, None)
            case LeaseLost(lease_id) if lease_id in self._lost:
                self._lost[lease_id] = None

    def _is_steady(self, lease_id: int) -> bool:
        return lease_id in self._memory.leases and lease_id not in self._lost

    def _lose(self, lease_id: int, reason: str | None) -> None:
        """What lies in a lease can't be read any more; the broker is told the reason, unless it is his own word."""
        memory = self._memory
        self.mover.abandon(lease_id)
        self._keep_chunks.pop(lease_id, None)
        self._lost[lease_id] = reason
        for chunk in memory.leases[lease_id].chunks:
            memory.pool.close(chunk)

    def fail(self, chunks: set[int], error: DriverError) -> None:
        """A copy to or from these chunks was refused: their leases can't be reached, and the broker is told so."""
        for lease_id in {self._memory.lease_of(chunk) for chunk in chunks} - {None, *self._lost}:
            assert lease_id is not None
            logger.warning("lease %d can't be reached: %s", lease_id, error)
            self._lose(lease_id, str(error))

    def _map(self, granted: LeaseGranted) -> None:
        if granted.nbytes <= 0 or granted.nbytes % self._memory.chunk_bytes:  # meant for weights that stay after all
            self._desk.report(LeaseReturned(granted.lease_id, granted.nbytes))
            return
        try:
            self._memory.map_lease(granted.lease_id, granted.donor, granted.nbytes, granted.bytes_per_s)
        except (DriverError, ValueError) as error:
            logger.warning("lease %d on GPU %d can't be mapped: %s", granted.lease_id, granted.donor, error)
            self._desk.report(LeaseFailed(granted.lease_id, str(error)))
        else:
            self._desk.report(LeaseMapped(granted.lease_id))

    # -- between steps -----------------------------------------------------------------------------------------

    def tend(self, wanted_chunks: int) -> None:
        """Bring recalls on, and give back what is empty beyond `wanted_chunks`. Raises DriverError if a move failed."""
        self.mover.poll()
        for lease_id in list(self._keep_chunks):
            self._bring_on(lease_id)
        self._return_unwanted(wanted_chunks)
        self._promote()
        for lease_id in list(self._lost):
            self._bury(lease_id)

    def _bring_on(self, lease_id: int) -> None:
        memory = self._memory
        if self.mover.is_target(lease_id):
            return  # what is about to arrive here must leave again, once it has
        staying = memory.leases[lease_id].chunks - memory.moving
        excess = len(staying) - self._keep_chunks[lease_id]
        if excess > 0:
            for assignment in self._plan(staying, excess):
                if lease_id not in self._lost:
                    self._carry_out(assignment)
        if lease_id in self._keep_chunks and len(memory.leases[lease_id].chunks) <= self._keep_chunks[lease_id]:
            del self._keep_chunks[lease_id]
            for chunk in memory.leases[lease_id].chunks - memory.moving:
                memory.reopen(chunk)
            self._forget_if_empty(lease_id)

    def _plan(self, chunks: set[int], excess: int) -> list[Assignment]:
        memory = self._memory
        copies = Counter(memory.chunk_of(copy) for r in self._residences() for copy in r.copies if copy != NO_COPY)
        lent = [
            LentChunk(chunk, memory.chunk_bytes, (memory.pool.used(chunk) - copies[chunk]) * memory.layout.block_bytes)
            for chunk in chunks
        ]
        steady = [n for n in memory.leases if n not in self._keep_chunks and n not in self._lost]
        spare = [chunk for n in steady for chunk in self.mover.empty_chunks(n)]
        return plan_recall(lent, excess * memory.chunk_bytes, spare, memory.host_room * memory.chunk_bytes)

    def _carry_out(self, assignment: Assignment) -> None:
        """Give a chunk's memory back now, or begin to; nothing while too many chunks move, or paging touches it."""
        memory, chunk = self._memory, assignment.chunk
        memory.pool.close(chunk)
        for residence in self._residences():
            memory.pool.release(residence.drop_copies(memory.block_ids(chunk)))
        match assignment.target:
            case Target.PEER | Target.HOST if self.mover.under_way < MOST_MOVES:
                peer = assignment.peer_chunk
                try:
                    self.mover.begin(chunk, None if peer is None else memory.lease_of(peer))
                except DriverError as error:
                    self.fail({chunk}, error)
                    return
            case Target.DROP if not memory.pins[chunk]:
                self._lose_chunk(chunk)
        if not memory.pool.used(chunk) and chunk not in memory.moving:
            self._give_back(chunk)

    def _give_back(self, chunk: int) -> None:
        lease_id = self._memory.lease_of(chunk)
        assert lease_id is not None
        self._memory.unmap(chunk)
        self._tell_returned(lease_id, self._memory.chunk_bytes)

    def _tell_returned(self, lease_id: int, nbytes: int) -> None:
        self._desk.report(LeaseReturned(lease_id, nbytes))
        if lease_id not in self._keep_chunks:
            self._forget_if_empty(lease_id)

    def _forget_if_empty(self, lease_id: int) -> None:
        if not self._memory.leases[lease_id].chunks and not self.mover.is_target(lease_id):
            del self._memory.leases[lease_id]

    def _return_unwanted(self, wanted_chunks: int) -> None:
        leases = self._memory.leases.items()
        kept = sum(min(len(one.chunks), self._keep_chunks.get(n, len(one.chunks))) for n, one in leases)
        surplus = kept - wanted_chunks
        for lease_id in sorted(self._memory.leases, reverse=True) if surplus > 0 else ():
            if lease_id in self._keep_chunks or lease_id in self._lost:
                continue
            while surplus > 0 and lease_id in self._memory.leases:
                chunk = self.mover.empty_chunk(lease_id)
                if chunk is None:
                    break
                self._give_back(chunk)
                surplus -= 1

    def _promote(self) -> None:
        """Bring what lies in host memory to a neighbour that has room meanwhile."""
        memory = self._memory
        if not memory.leases or self._keep_chunks or self.mover.under_way >= MOST_MOVES:
            return
        for chunk in memory.host_mapped_chunks():
            if memory.pool.used(chunk) and chunk not in memory.moving:
                for lease_id in memory.leases:
                    if lease_id not in self._lost and self.mover.empty_chunk(lease_id) is not None:
                        try:
                            self.mover.begin(chunk, lease_id)
                        except DriverError as error:
                            self._lose(lease_id, str(error))
                        return

    def _bury(self, lease_id: int) -> None:
        """Let a lost lease go, once the paging that touches it has ended."""
        memory = self._memory
        chunks = memory.leases[lease_id].chunks
        for chunk in chunks:
            if memory.pins[chunk]:
                return
            for residence in self._residences():
                memory.pool.release(residence.drop_copies(memory.block_ids(chunk)))
            self._lose_chunk(chunk)
        if not any(memory.pool.used(chunk) for chunk in chunks):
            memory.lose(lease_id)
            reason = self._lost.pop(lease_id)
            if reason is not None:
                self._desk.report(LeaseFailed(lease_id, reason))

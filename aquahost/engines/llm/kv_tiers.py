"""A language model's KV memory in all tiers: how much of each it has, and what the scheduler may count on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.kv_leases import KvLeases
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.kv_sizing import (
    LOOKAHEAD_TOKENS,
    Linger,
    borrowed_chunks_wanted,
    local_chunks_wanted,
)
from aquahost.engines.llm.pager import Pager
from aquahost.engines.llm.paging_costs import PagingCosts
from aquahost.engines.llm.residence import Residence
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.memory_desk import Part
from aquahost.messages.memory import Demand, MemoryInstruction
from aquahost.scheduling.room import Room
from aquahost.scheduling.scheduler import Scheduler
from aquahost_cuda.check import DriverError

logger = logging.getLogger(__name__)

SIZING_PERIOD_S = 0.01
REFUSED_PAUSE_S = 1.0
"""How long no more is claimed than the broker, or the driver, had."""


class KvTiers:
    """Owns pager and leases of one model, and follows its prompts' needs with claims and demand.

    With a broker, local memory that nobody needs is unmapped after a while, so that it can be lent, and claimed and
    mapped again before prompts grow into it. Without one, all local memory stays mapped and none is borrowed.
    """

    def __init__(
        self,
        memory: KvMemory,
        device: EngineDevice,
        scheduler: Scheduler,
        *,
        residences: Callable[[], Iterable[Residence]],
        lose_chunk: Callable[[int], None],
    ) -> None:
        """`residences`: of running prompts, whose copies may be dropped; `lose_chunk`: end what lies in a chunk."""
        self.memory = memory
        self.pager = Pager(memory, device, residences)
        self.leases = KvLeases(memory, device, residences=residences, lose_chunk=lose_chunk)
        self.costs = PagingCosts()
        """What paging was measured to take."""
        self._desk = device.desk
        self._scheduler = scheduler
        self._local = Linger(self._desk.settings.linger_s, memory.local_chunks)
        self._borrowed = Linger(self._desk.settings.linger_s)
        self._demanded = 0
        self._local_target = 0
        """Local chunks that it is to have, as far as they can be had."""
        self._sizing_due_s = 0.0
        self._sized_for = (0, False)
        self._cap_chunks = 0
        self._refused_chunks = 0
        """A number of local chunks that was refused; it is asked for again now and then, but not counted on."""
        self._capped_until_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether copies are under way, or an answer of the broker is waited for."""
        return self.pager.is_busy or self.leases.is_busy or self._more_is_coming

    @property
    def lies_idle(self) -> bool:
        """Whether nothing is borrowed or demanded, and nothing moves: the model may be parked."""
        return not (self.memory.leases or self._demanded or self.is_busy)

    def room(self) -> Room:
        """What the next step may use."""
        return Room(
            self.memory.pool.free(Tier.LOCAL),
            self.pager.remote_room(),
            more=self._more_is_coming,
            in_haste=self.leases.is_recalled,
            peer=self.memory.pool.free(Tier.PEER),
            costs=self.costs.costs(self.memory.peer_block_s),
        )

    def on_memory(self, message: MemoryInstruction) -> None:
        """Take in what the broker says of a lease."""
        self.leases.on_memory(message)

    def tend(self, *, parked: bool, may_borrow: bool) -> None:
        """See to leases and sizes; to be called between steps. Raises DriverError if a move failed.

        A parked model holds no local memory; one that is not to borrow leaves its demand as it is.
        """
        now_s = self._desk.clock.now_s()
        self.leases.tend(self._borrowed.value)
        sized_for = (self._scheduler.prompts.arrivals, parked)
        if now_s < self._sizing_due_s and sized_for == self._sized_for and not self._more_is_coming:
            return
        self._sizing_due_s, self._sized_for = now_s + SIZING_PERIOD_S, sized_for
        if may_borrow:
            self._fit_borrowed(now_s)
        if self._desk.has_broker:
            self._fit_local(now_s, parked=parked)
        if not len(self._scheduler.prompts) and not self._borrowed.value:
            self._free_host()

    def close(self) -> None:
        """Unmap everything; copies under way are waited for by the device's copy engine, which must be closed first."""
        self.leases.mover.close()
        self.memory.close()

    # -- sizes -------------------------------------------------------------------------------------------------

    @property
    def _more_is_coming(self) -> bool:
        target = self._local_target
        return target > self.memory.mapped_local and (not self._refused_chunks or target < self._refused_chunks)

    def _fit_local(self, now_s: float, *, parked: bool) -> None:
        memory, desk = self.memory, self._desk
        blocks = self._scheduler.blocks_wanted(LOOKAHEAD_TOKENS, memory.local_blocks)
        wish = local_chunks_wanted(blocks, memory.pool.chunk_blocks, memory.local_chunks)
        target = 0 if parked else self._local.update(wish, now_s)
        if desk.refused is not None and self._local_target > memory.mapped_local:  # else it was for another part
            others_bytes = sum(desk.settled(part) for part in Part if part is not Part.KV)
            self._cap_chunks = (desk.refused.available_bytes - others_bytes) // memory.chunk_bytes
            self._refused_chunks = (desk.refused.nbytes - others_bytes) // memory.chunk_bytes
            self._capped_until_s = now_s + REFUSED_PAUSE_S
            desk.refused = None
        if now_s < self._capped_until_s:
            target = min(target, max(self._cap_chunks, memory.mapped_local))
        self._local_target = target
        if target > memory.mapped_local:
            self._grow_local(target, now_s)
        else:
            memory.unmap_local(memory.mapped_local - target)
            desk.claim(Part.KV, memory.local_bytes)

    def _grow_local(self, target: int, now_s: float) -> None:
        memory, desk = self.memory, self._desk
        if any(desk.wanted(part) != desk.settled(part) for part in Part if part is not Part.KV):
            return  # what cannot do without goes first: a refusal would be one of both together
        if not desk.claim(Part.KV, target * memory.chunk_bytes):
            return
        self._refused_chunks = 0
        try:
            memory.map_local(target - memory.mapped_local)
        except DriverError as error:  # someone else took what the broker believed to be free
            logger.warning("GPU memory for KV blocks was promised and is not there: %s", error)
            desk.claim(Part.KV, memory.local_bytes)
            self._cap_chunks, self._capped_until_s = memory.mapped_local, now_s + REFUSED_PAUSE_S
            self._local_target = memory.mapped_local

    def _fit_borrowed(self, now_s: float) -> None:
        memory = self.memory
        if not memory.borrow_chunks:
            return
        local_blocks = memory.local_blocks
        most = local_blocks + memory.borrow_chunks * memory.pool.chunk_blocks
        blocks = self._scheduler.begun_blocks_wanted(LOOKAHEAD_TOKENS, most)
        if now_s < self._capped_until_s:
            local_blocks = min(local_blocks, max(0, self._cap_chunks) * memory.pool.chunk_blocks)
        wish = borrowed_chunks_wanted(blocks, local_blocks, memory.pool.chunk_blocks, memory.borrow_chunks)
        if stranded := memory.used_chunks(Tier.HOST):
            # A whole chunk is needed for each to move into, however little lies in those there are.
            wish = min(memory.borrow_chunks, max(wish, memory.used_chunks(Tier.PEER) + stranded))
        chunks = self._borrowed.update(wish, now_s)
        if chunks != self._demanded:
            self._demanded = chunks
            self._desk.report(Demand(chunks * memory.chunk_bytes, memory.chunk_bytes))

    def _free_host(self) -> None:
        for chunk in self.memory.host_mapped_chunks():
            if not self.memory.pool.used(chunk) and chunk not in self.memory.moving:
                self.memory.unmap(chunk)

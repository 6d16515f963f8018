"""Follows the needs of a language model's prompts with claims on its own GPU and demand for its neighbours' memory."""

from __future__ import annotations

import logging
from typing import Protocol

from aquahost.engines.llm.kv_sizing import (
    LOOKAHEAD_TOKENS,
    Linger,
    borrowed_chunks_wanted,
    local_chunks_wanted,
)
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.messages.memory import Demand
from aquahost.scheduling.scheduler import Scheduler
from aquahost.units import GIB
from aquahost_cuda.check import DriverError

logger = logging.getLogger(__name__)

SIZING_PERIOD_S = 0.01
MOST_MAPPED_BYTES = GIB
"""What is mapped, or unmapped, between two steps: a chunk takes a fraction of a millisecond, and all of a large GPU's a
tenth of a second, in which nothing would be computed."""
REFUSED_PAUSE_S = 1.0
"""How long no more is claimed than the broker, or the driver, had."""


class SizedMemory(Protocol):
    """KV memory in chunks: an arena's, or a simulated one's."""

    local_blocks: int
    local_chunks: int
    borrow_chunks: int
    chunk_bytes: int
    chunk_blocks: int

    @property
    def mapped_local(self) -> int:
        """Local chunks that have memory."""
        ...

    @property
    def local_bytes(self) -> int:
        """Memory taken of the model's own GPU."""
        ...

    def map_local(self, chunks: int) -> None:
        """Give so many more local chunks memory. Raises DriverError, none mapped."""
        ...

    def unmap_local(self, chunks: int) -> int:
        """Take the memory of at most so many empty local chunks away; returns of how many."""
        ...

    def used_chunks(self, tier: Tier) -> int:
        """Chunks of leased or of host memory that blocks are given out of."""
        ...


class KvSizer:
    """Owns what one model's KV memory is to be like; no I/O but through its memory and its desk.

    With a broker, local memory that nobody needs is unmapped after a while, so that it can be lent, and claimed and
    mapped again before prompts grow into it. Without one, all local memory stays mapped and none is borrowed.
    """

    def __init__(self, memory: SizedMemory, desk: MemoryDesk, scheduler: Scheduler) -> None:
        self._memory = memory
        self._desk = desk
        self._scheduler = scheduler
        self._local = Linger(desk.settings.linger_s, memory.local_chunks)
        self._borrowed = Linger(desk.settings.linger_s)
        self._portion = max(1, MOST_MAPPED_BYTES // memory.chunk_bytes)
        self.demanded_chunks = 0
        """Leased chunks that the broker was last asked for."""
        self._local_target = 0
        """Local chunks that it is to have, as far as they can be had."""
        self._due_s = 0.0
        self._sized_for = (0, False)
        self._cap_chunks = 0
        self._refused_chunks = 0
        """A number of local chunks that was refused; it is asked for again now and then, but not counted on."""
        self._capped_until_s = 0.0

    @property
    def borrowed_chunks(self) -> int:
        """Leased chunks that are worth keeping."""
        return self._borrowed.value

    @property
    def more_is_coming(self) -> bool:
        """Whether local memory was asked for that can be counted on."""
        target = self._local_target
        return target > self._memory.mapped_local and (not self._refused_chunks or target < self._refused_chunks)

    def tend(self, *, parked: bool, may_borrow: bool) -> None:
        """Follow what prompts need; to be called between steps.

        A parked model holds no local memory; one that is not to borrow leaves its demand as it is.
        """
        now_s = self._desk.clock.now_s()
        sized_for = (self._scheduler.prompts.arrivals, parked)
        if now_s < self._due_s and sized_for == self._sized_for and not self.more_is_coming:
            return
        self._due_s, self._sized_for = now_s + SIZING_PERIOD_S, sized_for
        if may_borrow:
            self._fit_borrowed(now_s)
        if self._desk.has_broker:
            self._fit_local(now_s, parked=parked)

    def _fit_local(self, now_s: float, *, parked: bool) -> None:
        memory, desk = self._memory, self._desk
        blocks = self._scheduler.blocks_wanted(LOOKAHEAD_TOKENS, memory.local_blocks)
        wish = local_chunks_wanted(blocks, memory.chunk_blocks, memory.local_chunks)
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
            excess = memory.mapped_local - target
            memory.unmap_local(min(excess, self._portion) if len(self._scheduler.prompts) else excess)
            desk.claim(Part.KV, memory.local_bytes)

    def _grow_local(self, target: int, now_s: float) -> None:
        memory, desk = self._memory, self._desk
        if any(desk.wanted(part) != desk.settled(part) for part in Part if part is not Part.KV):
            return  # what cannot do without goes first: a refusal would be one of both together
        if not desk.claim(Part.KV, target * memory.chunk_bytes):
            return
        self._refused_chunks = 0
        try:
            memory.map_local(min(target - memory.mapped_local, self._portion))
        except DriverError as error:  # someone else took what the broker believed to be free
            logger.warning("GPU memory for KV blocks was promised and is not there: %s", error)
            desk.claim(Part.KV, memory.local_bytes)
            self._cap_chunks, self._capped_until_s = memory.mapped_local, now_s + REFUSED_PAUSE_S
            self._local_target = memory.mapped_local

    def _fit_borrowed(self, now_s: float) -> None:
        memory = self._memory
        if not memory.borrow_chunks:
            return
        local_blocks = memory.local_blocks
        most = local_blocks + memory.borrow_chunks * memory.chunk_blocks
        blocks = self._scheduler.begun_blocks_wanted(LOOKAHEAD_TOKENS, most)
        if now_s < self._capped_until_s:
            local_blocks = min(local_blocks, max(0, self._cap_chunks) * memory.chunk_blocks)
        wish = borrowed_chunks_wanted(blocks, local_blocks, memory.chunk_blocks, memory.borrow_chunks)
        if stranded := memory.used_chunks(Tier.HOST):
            # A whole chunk is needed for each to move into, however little lies in those there are.
            wish = min(memory.borrow_chunks, max(wish, memory.used_chunks(Tier.PEER) + stranded))
        chunks = self._borrowed.update(wish, now_s)
        if chunks != self.demanded_chunks:
            self.demanded_chunks = chunks
            self._desk.report(Demand(chunks * memory.chunk_bytes, memory.chunk_bytes))

"""The KV arena of one model: which of its chunks have memory, where that lies, and the blocks in it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from aquahost.config.settings import ModelSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_pool import BlockPool
from aquahost.engines.llm.block_tables import Ints
from aquahost.engines.llm.kv_cache import KvCache
from aquahost.engines.llm.kv_layout import KvLayout, local_kv_bytes
from aquahost.engines.llm.kv_traffic import KvTraffic
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.memory_desk import Part
from aquahost.units import format_bytes
from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError
from aquahost_cuda.driver import HOST
from aquahost_cuda.vmm import Location

logger = logging.getLogger(__name__)

_DEFAULT_TIMES_LOCAL = 4
_NOWHERE = -2
_TAKEN = -3
"""Addresses that a lost GPU's memory could not be unmapped from."""


@dataclass(slots=True, eq=False)
class LeasedChunks:
    """A lease that is mapped."""

    donor: int
    chunks: set[int]
    bytes_per_s: float
    """Of the link to the donor; 0 where it is not known."""


class KvMemory:
    """Owns the arena, its views and its block pool; `close` gives the memory back.

    The first `local_chunks` chunks of the range are for the model's own GPU; behind them is room for leased and host
    memory. Blocks of a chunk must be given back before it loses its memory.
    """

    def __init__(self, device: EngineDevice, layout: KvLayout, settings: ModelSettings) -> None:
        """Map all local memory, the entry's or 80 % of what the GPU can give. Raises LoadError if that is no block."""
        self.layout = layout
        self.block_bytes = layout.block_bytes
        self.chunk_bytes = device.chunk_bytes(layout.block_bytes)
        self.local_blocks = local_kv_bytes(settings.kv_bytes, device, layout) // layout.block_bytes
        """Blocks that the model's own GPU holds when all local chunks are mapped."""
        self.chunk_blocks = self.chunk_bytes // layout.block_bytes
        self.pool = BlockPool(self.chunk_blocks)
        self.local_chunks = -(-self.local_blocks // self.pool.chunk_blocks)
        default_bytes = _DEFAULT_TIMES_LOCAL * self.local_chunks * self.chunk_bytes
        self.borrow_chunks = self._chunks_in(settings.borrow_bytes, default_bytes) if device.desk.has_broker else 0
        """Most chunks of leased memory."""
        self.host_chunks = self._chunks_in(settings.host_kv_bytes, default_bytes)
        """Most chunks of host memory."""
        self.leases: dict[int, LeasedChunks] = {}
        self.pins: Counter[int] = Counter()
        """Copies under way that read or write a chunk."""
        self.moving: set[int] = set()
        """Chunks whose memory is being exchanged; no new paging may touch them."""
        self.reserved_host = 0
        """Chunks of host memory that moves under way are going to take."""
        self.traffic = KvTraffic(device.gpu_index)
        self.moves = 0
        """Chunks whose memory lies elsewhere than before, so far."""
        self._device = device
        total = self.local_chunks + self.borrow_chunks + self.host_chunks
        self._places: Ints = np.full(total, _NOWHERE, dtype=np.int64)
        chunks = f"the KV memory, {self.local_chunks} chunks of {format_bytes(self.chunk_bytes)} (see block_tokens),"
        device.desk.require(Part.KV, self.local_chunks * self.chunk_bytes, chunks)
        self.arena: Arena = device.arena(total, self.chunk_bytes)
        try:
            self._map_at_load()
        except BaseException:
            self.arena.close()
            raise

    def _map_at_load(self) -> None:
        device, nbytes = self._device, self.local_chunks * self.chunk_bytes
        device.refuse_beyond_free(nbytes, "the KV arena needs")
        self.map_local(self.local_chunks)
        memory = device.tensor(self.arena.address, self.arena.capacity_bytes)
        if not device.is_emulated:  # whose memory is zero already, and is only taken from the host when written
            memory[:nbytes].zero_()
        self.cache = KvCache(memory, self.layout)
        if self.map_host():  # nothing is promised of host memory that this driver does not give
            self.unmap(self.host_mapped_chunks()[0])

    # -- sizes -------------------------------------------------------------------------------------------------

    @property
    def sure_blocks(self) -> int:
        """Blocks that can be had whatever others do: local ones, and those of host memory."""
        return self.local_blocks + self.host_chunks * self.pool.chunk_blocks

    @property
    def mapped_local(self) -> int:
        """Local chunks that have memory."""
        return int(np.count_nonzero(self._places[: self.local_chunks] != _NOWHERE))

    @property
    def local_bytes(self) -> int:
        """Memory taken of the model's own GPU."""
        return self.mapped_local * self.chunk_bytes

    @property
    def borrowed_chunks(self) -> int:
        """Leased chunks that are mapped."""
        return sum(len(lease.chunks) for lease in self.leases.values())

    @property
    def mapped_host(self) -> int:
        """Chunks of host memory."""
        return int(np.count_nonzero(self._places == HOST))

    @property
    def host_room(self) -> int:
        """Chunks of host memory that may still be mapped."""
        return max(0, self.host_chunks - self.mapped_host - self.reserved_host)

    # -- local memory ------------------------------------------------------------------------------------------

    def map_local(self, chunks: int) -> None:
        """Give so many more local chunks memory, lowest first. Raises OutOfMemoryError or DriverError, none mapped."""
        vacant = [c for c in range(self.local_chunks) if self._places[c] == _NOWHERE][:chunks]
        self.arena.map(vacant, Location.device(self._device.gpu_index))
        for chunk in vacant:
            self._places[chunk] = self._device.gpu_index
            blocks = min(self.pool.chunk_blocks, self.local_blocks - chunk * self.pool.chunk_blocks)
            self.pool.add(chunk, Tier.LOCAL, blocks=blocks)

    def unmap_local(self, chunks: int) -> int:
        """Take the memory of at most so many empty local chunks away, highest first; returns of how many."""
        taken = 0
        for chunk in range(self.local_chunks - 1, -1, -1):
            if taken < chunks and self._places[chunk] != _NOWHERE and not self.pool.used(chunk):
                self.unmap(chunk)
                taken += 1
        return taken

    # -- leased and host memory --------------------------------------------------------------------------------

    @property
    def peer_block_s(self) -> float | None:
        """Time that the slowest link of the leases takes for a block; None where that is not known."""
        rates = [lease.bytes_per_s for lease in self.leases.values()]
        return self.block_bytes / min(rates) if rates and min(rates) > 0 else None

    def map_lease(self, lease_id: int, donor: int, nbytes: int, bytes_per_s: float) -> None:
        """Take leased memory. Raises DriverError, or ValueError where the range has no room; nothing is mapped then."""
        chunks = self._vacant_remote(nbytes // self.chunk_bytes)
        self.arena.map(chunks, Location.device(donor))
        self.leases[lease_id] = LeasedChunks(donor, set(chunks), bytes_per_s)
        for chunk in chunks:
            self._places[chunk] = donor
            self.pool.add(chunk, Tier.PEER, group=donor)

    def map_host(self) -> bool:
        """Take one more chunk of host memory; False if there is no more to be had."""
        if not self.host_room:
            return False
        (chunk,) = self._vacant_remote(1)
        try:
            self.arena.map([chunk], Location.host())
        except DriverError as error:  # no VMM for host memory in this driver, or a limit on pinned memory
            logger.warning("no host memory for KV blocks beyond %d chunks: %s", self.mapped_host, error)
            self.host_chunks = self.mapped_host
            return False
        self._places[chunk] = HOST
        self.pool.add(chunk, Tier.HOST)
        return True

    def unmap(self, chunk: int) -> None:
        """Take an empty chunk's memory away; a lease loses it. Raises ValueError if one of its blocks is given out."""
        self.pool.remove(chunk)
        self._forget(chunk)
        self._device.finish_work()
        self.arena.unmap([chunk])

    def moved(self, chunk: int, lease_id: int | None) -> None:
        """A closed chunk's memory lies elsewhere now: in a lease, or in the host's for None. Its blocks are given out
        again."""
        self._forget(chunk)
        self.moves += 1
        if lease_id is None:
            self._places[chunk] = HOST
        else:
            lease = self.leases[lease_id]
            lease.chunks.add(chunk)
            self._places[chunk] = lease.donor
        self.reopen(chunk)

    def reopen(self, chunk: int) -> None:
        """Give the blocks of a closed chunk out again."""
        place = self.place_of(chunk)
        tier = self.traffic.tier(place)
        self.pool.reopen(chunk, tier, group=place if tier is Tier.PEER else 0)

    def lease_of(self, chunk: int) -> int | None:
        """The lease that a chunk belongs to."""
        return next((number for number, lease in self.leases.items() if chunk in lease.chunks), None)

    def host_mapped_chunks(self) -> list[int]:
        """Chunks of host memory, ascending."""
        found: list[int] = np.flatnonzero(self._places == HOST).tolist()
        return found

    def place_of(self, chunk: int) -> int:
        """The GPU on which a chunk's memory lies, or -1 for the host."""
        return int(self._places[chunk])

    def used_chunks(self, tier: Tier) -> int:
        """Chunks of leased or of host memory that blocks are given out of."""
        chunks = self.host_mapped_chunks() if tier is Tier.HOST else [c for n in self.leases.values() for c in n.chunks]
        return sum(self.pool.used(chunk) > 0 for chunk in chunks)

    # -- blocks ------------------------------------------------------------------------------------------------

    def is_local(self, block_id: int) -> bool:
        """Whether a block lies on the model's own GPU."""
        return block_id < self.local_chunks * self.pool.chunk_blocks

    def chunk_of(self, block_id: int) -> int:
        """The chunk that holds a block."""
        return block_id // self.pool.chunk_blocks

    def chunks_of(self, block_ids: Iterable[int]) -> set[int]:
        """The chunks that hold these blocks."""
        return {block_id // self.pool.chunk_blocks for block_id in block_ids}

    def block_ids(self, chunk: int) -> range:
        """The blocks of a chunk."""
        first = chunk * self.pool.chunk_blocks
        return range(first, first + self.pool.chunk_blocks)

    def address(self, block_id: int) -> int:
        """Where a block begins."""
        return self.arena.address + block_id * self.block_bytes

    def remote_loads(self, block_ids: Ints) -> dict[int, int]:
        """Bytes of these blocks that lie on other GPUs, by GPU, or in the host (-1)."""
        places, counts = np.unique(self._places[block_ids // self.pool.chunk_blocks], return_counts=True)
        own = self._device.gpu_index
        return {
            int(place): int(count) * self.block_bytes
            for place, count in zip(places, counts, strict=True)
            if place != own
        }

    def places_of(self, block_ids: list[int]) -> str:
        """Where these blocks lie beside the model's own GPU, for people: "GPU 3", "host", "GPU 2, host"."""
        places = set(self._places[np.array(block_ids, dtype=np.int64) // self.pool.chunk_blocks].tolist())
        donors = sorted(place for place in places if place >= 0 and place != self._device.gpu_index)
        return ", ".join([*(f"GPU {donor}" for donor in donors), *(["host"] if HOST in places else [])])

    def close(self) -> None:
        """Unmap the arena; its tensors must not be used any more."""
        self._device.finish_work()
        self.arena.close()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _chunks_in(self, asked_bytes: int | None, default_bytes: int) -> int:
        return -(-(default_bytes if asked_bytes is None else asked_bytes) // self.chunk_bytes)

    def _vacant_remote(self, chunks: int) -> list[int]:
        vacant = np.flatnonzero(self._places[self.local_chunks :] == _NOWHERE)[:chunks] + self.local_chunks
        if len(vacant) < chunks:
            raise ValueError(f"{chunks} chunks asked, {len(vacant)} are left of the KV memory's address range")
        found: list[int] = vacant.tolist()
        return found

    def _forget(self, chunk: int) -> None:
        self._places[chunk] = _NOWHERE
        for lease in self.leases.values():
            lease.chunks.discard(chunk)

    def lose(self, lease_id: int) -> None:
        """Let a lease go whose chunks are empty; its memory may be unreachable, so that errors mean nothing."""
        self._device.finish_work()
        for chunk in sorted(self.leases[lease_id].chunks):
            self.pool.remove(chunk)
            self._forget(chunk)
            try:
                self.arena.unmap([chunk])
            except DriverError:
                self._places[chunk] = _TAKEN
        del self.leases[lease_id]

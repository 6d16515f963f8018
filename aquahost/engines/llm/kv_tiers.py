"""A language model's KV memory in all tiers: how much of each it has, and what the scheduler may count on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.kv_leases import KvLeases
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.kv_sizer import KvSizer
from aquahost.engines.llm.pager import Pager
from aquahost.engines.llm.paging_costs import PagingCosts
from aquahost.engines.llm.residence import Residence
from aquahost.engines.llm.tiers import Tier
from aquahost.messages.memory import MemoryInstruction
from aquahost.scheduling.room import Room
from aquahost.scheduling.scheduler import Scheduler


class KvTiers:
    """Owns pager, leases and sizes of one model's KV memory."""

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
        self._scheduler = scheduler
        self._sizer = KvSizer(memory, device.desk, scheduler)

    @property
    def is_busy(self) -> bool:
        """Whether copies are under way, or an answer of the broker is waited for."""
        return self.pager.is_busy or self.leases.is_busy or self._sizer.more_is_coming

    @property
    def lies_idle(self) -> bool:
        """Whether nothing is borrowed or demanded, and nothing moves: the model may be parked."""
        return not (self.memory.leases or self._sizer.demanded_chunks or self.is_busy)

    def room(self) -> Room:
        """What the next step may use."""
        return Room(
            self.memory.pool.free(Tier.LOCAL),
            self.pager.remote_room(),
            more=self._sizer.more_is_coming,
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
        self.leases.tend(self._sizer.borrowed_chunks)
        self._sizer.tend(parked=parked, may_borrow=may_borrow)
        if not len(self._scheduler.prompts) and not self._sizer.borrowed_chunks:
            self._free_host()

    def close(self) -> None:
        """Unmap everything; copies under way are waited for by the device's copy engine, which must be closed first."""
        self.leases.mover.close()
        self.memory.close()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _free_host(self) -> None:
        for chunk in self.memory.host_mapped_chunks():
            if not self.memory.pool.used(chunk) and chunk not in self.memory.moving:
                self.memory.unmap(chunk)

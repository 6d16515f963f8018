"""One GPU's part of a simulated language model: its KV memory, its claims, and its leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from aquahost.engines.llm.kv_sizer import KvSizer
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.memory import (
    LeaseGranted,
    LeaseLost,
    LeaseMapped,
    LeaseRecalled,
    LeaseReturned,
    MemoryInstruction,
)
from aquahost.scheduling.scheduler import Scheduler
from aquahost.simulator.kv_shard import KvShard
from aquahost.simulator.links import HOST, Links, Part

MAP_CHUNK_S = 0.0002
"""What mapping one chunk takes, between two steps."""


class LanguageShard:
    """Owns the leases of one worker and carries the broker's words out on its KV memory."""

    def __init__(
        self,
        gpu: int,
        kv: KvShard,
        desk: MemoryDesk,
        scheduler: Scheduler,
        links: Links,
        *,
        lose: Callable[[str], None],
        woken: Callable[[], None],
        keeps_leases: bool = False,
    ) -> None:
        """`lose`: a prompt has lost all its blocks; `woken`: there is something to see to; `keeps_leases`: nothing is
        given back unless it is recalled."""
        self._keeps_leases = keeps_leases
        self.gpu = gpu
        self.kv = kv
        self.desk = desk
        self.sizer = KvSizer(kv, desk, scheduler)
        self._scheduler = scheduler
        self.links = links
        self._lose = lose
        self._woken = woken
        self._is_promoting = False
        self.mapping_s = 0.0
        """Time that mapping chunks has taken since it was last asked for."""

    @property
    def is_recalled(self) -> bool:
        """Whether a donor waits for memory."""
        return bool(self.kv.peer.recalled)

    @property
    def lies_idle(self) -> bool:
        """Whether nothing is borrowed, or to be given back, or demanded."""
        return (self._keeps_leases or not self.kv.peer.leases) and not self.sizer.demanded_chunks

    @property
    def is_settled(self) -> bool:
        """Whether time alone changes nothing here while no prompt is live."""
        at_rest = self.kv.mapped_local <= max(1, round(self.kv.local_chunks * 0.25)) and self.desk.is_settled
        return self.lies_idle and at_rest

    # -- the broker's words ------------------------------------------------------------------------------------

    def on_memory(self, message: MemoryInstruction) -> None:
        """Take in what the broker says of a lease."""
        leases, chunk_bytes = self.kv.peer.leases, self.kv.chunk_bytes
        match message:
            case LeaseGranted(lease_id, donor, nbytes, bytes_per_s):
                self.kv.peer.map(lease_id, donor, nbytes // chunk_bytes, bytes_per_s)
                self.mapping_s += MAP_CHUNK_S * leases[lease_id].chunks
                self.desk.report(LeaseMapped(lease_id))
            case LeaseRecalled(lease_id, keep_bytes) if lease_id in leases:
                self.kv.peer.recall(lease_id, keep_bytes // chunk_bytes)
            case LeaseLost(lease_id) if lease_id in leases:
                for prompt_id in [one for one, held in self.kv.holdings.items() if held.remote[lease_id]]:
                    self._lose(prompt_id)
                self.kv.drop_copies_in(lease_id)
                self.kv.peer.give_up(lease_id, leases[lease_id].chunks)

    # -- between steps -----------------------------------------------------------------------------------------

    def tend(self, *, parked: bool) -> None:
        """Bring recalls on, give back what nobody needs, follow the prompts' needs."""
        for lease_id in sorted(self.kv.peer.recalled):
            self._bring_on(lease_id)
        self._return_unwanted()
        self._promote()
        mapped = self.kv.mapped_local
        self.sizer.tend(parked=parked, may_borrow=not parked)
        self.mapping_s += MAP_CHUNK_S * abs(self.kv.mapped_local - mapped)

    def _bring_on(self, lease_id: int) -> None:
        lease = self.kv.peer.leases[lease_id]
        assert lease.keep_chunks is not None
        excess = lease.chunks - lease.vacating - lease.keep_chunks
        if excess > 0:
            given = self.kv.peer.give_up_empty(lease_id, excess)
            if given < excess:
                self.kv.drop_copies_in(lease_id)
                given += self.kv.peer.give_up_empty(lease_id, excess - given)
            self._report_returned(lease_id, given)
            if given < excess:
                self._vacate(lease_id, excess - given)
        if lease_id in self.kv.peer.leases and lease.chunks <= lease.keep_chunks:
            self.kv.peer.reopen(lease_id)

    def _vacate(self, lease_id: int, chunks: int) -> None:
        donor = self.kv.peer.leases[lease_id].donor
        moved, lost = self.kv.vacate(lease_id, chunks)
        for prompt_id in lost:
            self._lose(prompt_id)
        self._note_hosted()
        parts = [self._part(donor, place, count) for place, count in moved.items()]
        self.links.copy(parts, partial(self._vacated, lease_id, chunks))

    def _vacated(self, lease_id: int, chunks: int) -> None:
        if lease_id in self.kv.peer.leases:
            self.kv.vacated(lease_id, chunks)
            self._report_returned(lease_id, chunks)
            self._woken()

    def _return_unwanted(self) -> None:
        leases = self.kv.peer.leases
        surplus = self.kv.peer.kept_chunks - self.sizer.borrowed_chunks
        if self._keeps_leases or surplus <= 0 or self.kv.peer.free < self.kv.chunk_blocks:
            return
        for lease_id in sorted(leases, reverse=True):
            if surplus <= 0:
                return
            if lease_id not in self.kv.peer.recalled and self.kv.peer.has_empty(lease_id):
                given = self.kv.peer.give_up_empty(lease_id, surplus)
                self._report_returned(lease_id, given)
                surplus -= given

    def _promote(self) -> None:
        if self._is_promoting or self.is_recalled or not self.kv.host_used or not self.kv.peer.leases:
            return
        moved = self.kv.promote(self.kv.chunk_blocks)
        if moved:
            self._is_promoting = True
            self._note_hosted()
            parts = [
                Part(HOST, self.kv.peer.leases[n].donor, count * self.kv.block_bytes) for n, count in moved.items()
            ]
            self.links.copy(parts, self._promoted)

    def _promoted(self) -> None:
        self._is_promoting = False
        self._woken()

    # -- pieces ------------------------------------------------------------------------------------------------

    def copies(self, blocks: Mapping[int, int], *, out: bool) -> list[Part]:
        """Copies between this GPU and these places."""
        found = []
        for place, count in blocks.items():
            where = HOST if place == HOST else self.kv.peer.leases[place].donor
            ends = (self.gpu, where) if out else (where, self.gpu)
            found.append(Part(*ends, count * self.kv.block_bytes))
        return found

    def reads(self, prompt_ids: list[str]) -> list[Part]:
        """What a step of these prompts reads in place."""
        read: Counter[int] = Counter()
        for prompt_id in prompt_ids:
            if prompt_id in self.kv.holdings:  # else it has lost all with a lease while it was computed
                read += self.kv.holdings[prompt_id].remote
        return self.copies(read, out=False)

    def _part(self, donor: int, place: int, count: int) -> Part:
        target = HOST if place == HOST else self.kv.peer.leases[place].donor
        return Part(donor, target, count * self.kv.block_bytes)

    def _report_returned(self, lease_id: int, chunks: int) -> None:
        if chunks:
            self.desk.report(LeaseReturned(lease_id, chunks * self.kv.chunk_bytes))

    def _note_hosted(self) -> None:
        prompts = self._scheduler.prompts
        for prompt_id, holding in self.kv.holdings.items():
            if prompt_id in prompts:
                prompts[prompt_id].hosted = holding.remote[HOST]

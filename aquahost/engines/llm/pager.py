"""Moving prompts' blocks between tiers: copies that run beside the steps and are looked after between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.block_runs import BlockRun, block_runs
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.residence import NO_COPY, Residence
from aquahost.engines.llm.tiers import REMOTE, Tier
from aquahost_cuda.check import DriverError
from aquahost_cuda.copies import Copy, Direction, Transfer


@dataclass(slots=True, kw_only=True, eq=False)
class Paging:
    """One prompt on its way out or back. Its blocks at both ends are pinned until the copies have arrived."""

    prompt_id: str
    residence: Residence
    direction: Direction
    computed: int
    """Tokens whose K and V it has."""
    targets: dict[int, int]
    """Index of each block that moves -> the block where it will be."""
    runs: list[BlockRun]
    """What must be copied; the other targets have their bytes already."""
    transfer: Transfer | None = None
    """None while it waits for a chunk that is being moved itself."""
    abandoned: bool = False
    """Nobody waits for it any more: when the copies have arrived, all blocks are given back."""


class UnreachableError(Exception):
    """Copies were refused: some of these chunks can't be reached any more."""

    def __init__(self, chunks: set[int], cause: DriverError) -> None:
        super().__init__(str(cause))
        self.chunks = chunks
        """Of leased and host memory."""
        self.cause = cause


class Pager:
    """Carries prompts between tiers. Never blocks: `page_out` and `page_in` start copies, `poll` tells who arrived."""

    def __init__(self, memory: KvMemory, device: EngineDevice, residences: Callable[[], Iterable[Residence]]) -> None:
        """`residences`: those of prompts that are in no tier's way, whose copies may be dropped when room is wanted."""
        self._memory = memory
        self._device = device
        self._residences = residences
        self._under_way: dict[str, Paging] = {}
        self._orphans: list[Paging] = []
        self.failed: list[tuple[Paging, UnreachableError]] = []
        """Those that could not be started late; their blocks are given back. To be taken by the caller of `poll`."""

    @property
    def is_busy(self) -> bool:
        """Whether copies are under way."""
        return bool(self._under_way or self._orphans)

    def is_moving(self, prompt_id: str) -> bool:
        """Whether this prompt is on its way."""
        return prompt_id in self._under_way

    def pinned_apart(self) -> list[int]:
        """Blocks that no live prompt's residence names: targets of copies under way, and all of abandoned ones."""
        found: set[int] = set()
        for paging in self._under_way.values():
            found |= set(paging.targets.values()) - set(paging.residence.held())
        for paging in self._orphans:
            found |= {*paging.targets.values(), *paging.residence.held()}
        return sorted(found)

    # -- room --------------------------------------------------------------------------------------------------

    def remote_room(self) -> int:
        """Blocks of slower memory that `take_remote` could give: free, not yet mapped, or holding mere copies."""
        memory, pool = self._memory, self._memory.pool
        copies = sum(residence.copy_count for residence in self._residences())
        return pool.free(Tier.PEER) + pool.free(Tier.HOST) + memory.host_room * pool.chunk_blocks + copies

    def take_remote(self, count: int) -> list[int]:
        """Blocks of slower memory, leased before host. Raises ValueError if there are not so many."""
        pool = self._memory.pool
        while pool.free(Tier.PEER) + pool.free(Tier.HOST) < count and self._memory.map_host():
            continue
        self._drop_copies_for(count)
        taken: list[int] = []
        for tier in REMOTE:
            share = min(count - len(taken), pool.free(tier))
            if share:
                taken += pool.allocate(share, tier)
        if len(taken) < count:
            pool.release(taken)
            raise ValueError(f"{count} blocks of slower memory asked, {len(taken)} are free")
        return taken

    def _drop_copies_for(self, count: int) -> None:
        pool = self._memory.pool
        for residence in self._residences():
            if pool.free(Tier.PEER) + pool.free(Tier.HOST) >= count:
                return
            pool.release(residence.drop_copies())

    # -- out and in --------------------------------------------------------------------------------------------

    def page_out(self, prompt_id: str, residence: Residence, computed: int) -> None:
        """Begin to move a prompt's local blocks to slower memory; what its copies have already is not copied again.

        Raises ValueError if there is no room, or UnreachableError; nothing has happened then.
        """
        memory = self._memory
        local = [i for i, block in enumerate(residence.blocks) if memory.is_local(block)]
        unsaved = [i for i in local if not residence.is_saved(i, computed, memory.layout.block_tokens)]
        lacking = [i for i in unsaved if residence.copies[i] == NO_COPY]
        fresh = dict(zip(lacking, self.take_remote(len(lacking)) if lacking else (), strict=True))
        targets = {i: fresh.get(i, residence.copies[i]) for i in local}
        try:
            self._begin(prompt_id, residence, Direction.OUT, computed, targets, unsaved)
        except BaseException:
            memory.pool.release(fresh.values())
            raise

    def page_in(self, prompt_id: str, residence: Residence, computed: int, blocks: int) -> None:
        """Begin to move the first `blocks` blocks of a suspended prompt to local memory.

        Raises ValueError if there is no room, or UnreachableError; nothing has happened then.
        """
        pool = self._memory.pool
        away = [i for i, block in enumerate(residence.blocks[:blocks]) if not self._memory.is_local(block)]
        taken = pool.allocate(len(away), Tier.LOCAL) if away else []
        try:
            self._begin(prompt_id, residence, Direction.IN, computed, dict(zip(away, taken, strict=True)), copied=away)
        except BaseException:
            pool.release(taken)
            raise

    def abandon(self, prompt_id: str) -> None:
        """Nobody wants a prompt any more that is on its way; its blocks are free once the copies have arrived."""
        paging = self._under_way.pop(prompt_id)
        paging.abandoned = True
        self._orphans.append(paging)

    def poll(self) -> list[Paging]:
        """The prompts that have got where they were going since the last call. Raises DriverError if a copy failed."""
        arrived = []
        for paging in [*self._under_way.values(), *self._orphans]:
            if paging.transfer is None:
                if paging.abandoned:
                    self._give_up(paging)
                elif not self._must_wait(paging):
                    self._start_late(paging)
            elif paging.transfer.done():
                self._complete(paging)
                if not paging.abandoned:
                    arrived.append(paging)
        for paging in arrived:
            del self._under_way[paging.prompt_id]
        return arrived

    # -- pieces ------------------------------------------------------------------------------------------------

    def _begin(
        self,
        prompt_id: str,
        residence: Residence,
        direction: Direction,
        computed: int,
        targets: dict[int, int],
        copied: list[int],
    ) -> None:
        moves = ((residence.blocks[i], targets[i]) for i in copied)
        paging = Paging(
            prompt_id=prompt_id,
            residence=residence,
            direction=direction,
            computed=computed,
            targets=targets,
            runs=block_runs(moves, self._memory.pool.chunk_blocks),
        )
        if not self._must_wait(paging):
            self._start(paging)
        self._under_way[prompt_id] = paging

    def _chunks(self, paging: Paging) -> set[int]:
        blocks = paging.residence.blocks
        return self._memory.chunks_of(paging.targets.values()) | self._memory.chunks_of(
            blocks[i] for i in paging.targets
        )

    def _must_wait(self, paging: Paging) -> bool:
        moving = self._memory.moving
        return bool(moving) and not moving.isdisjoint(self._chunks(paging))

    def _start_late(self, paging: Paging) -> None:
        try:
            self._start(paging)
        except UnreachableError as error:
            del self._under_way[paging.prompt_id]
            self._release_all(paging)
            self.failed.append((paging, error))

    def _start(self, paging: Paging) -> None:
        """Prepare: pin both ends and hand the copies over."""
        memory = self._memory
        copies = [
            Copy(memory.address(run.target), memory.address(run.source), run.blocks * memory.block_bytes)
            for run in paging.runs
        ]
        try:
            # After the compute stream: the step that wrote these blocks, or read the targets, may still run on a GPU.
            paging.transfer = self._device.copies.copy(paging.direction, copies, after=self._device.compute_stream)
        except DriverError as error:
            self._device.copies.synchronize()  # some of the copies may be under way
            tier = memory.traffic.tier
            remote = {chunk for chunk in self._chunks(paging) if tier(memory.place_of(chunk)) is Tier.PEER}
            raise UnreachableError(remote, error) from error
        memory.pins.update(self._chunks(paging))

    def _complete(self, paging: Paging) -> None:
        """Unpin, and let the prompt's table mean the new blocks."""
        memory, residence = self._memory, paging.residence
        memory.pins.subtract(self._chunks(paging))
        for run in paging.runs:
            source, target = memory.chunk_of(run.source), memory.chunk_of(run.target)
            nbytes = run.blocks * memory.block_bytes
            memory.traffic.moved(memory.place_of(source), memory.place_of(target), nbytes)
        memory.pool.release(residence.move(paging.targets, keep_copies=paging.direction is Direction.IN))
        residence.saved_tokens = paging.computed
        if paging.abandoned:
            self._orphans.remove(paging)
            memory.pool.release(residence.clear())

    def _give_up(self, paging: Paging) -> None:
        """End a prompt's way that was never begun."""
        self._orphans.remove(paging)
        self._release_all(paging)

    def _release_all(self, paging: Paging) -> None:
        self._memory.pool.release({*paging.residence.clear(), *paging.targets.values()})

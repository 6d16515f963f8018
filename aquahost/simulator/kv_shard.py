"""The KV memory of a simulated language model on one GPU: the engine's three tiers, counted instead of held.

What the engine keeps by block id is kept here as numbers by place, so that millions of tokens cost nothing. Chunks are
taken to be filled without gaps. A place is a lease, by its id, or the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from aquahost.engines.llm.tiers import Tier
from aquahost.simulator.links import HOST
from aquahost.simulator.peer_memory import PeerMemory


@dataclass(slots=True, eq=False)
class Holding:
    """One prompt's blocks."""

    local: int = 0
    remote: Counter[int] = field(default_factory=Counter)
    """By place."""
    copies: Counter[int] = field(default_factory=Counter)
    """Blocks in slower memory that repeat local ones, by place."""
    saved_tokens: int = 0
    """Leading tokens that the copies have."""
    is_seated: bool = False
    """Whether it takes part in steps; then its copies may be dropped."""


class KvShard:
    """Owns the blocks of one model on one GPU and beyond; a `SizedMemory` of engines.llm.kv_sizer."""

    def __init__(
        self,
        *,
        block_bytes: int,
        block_tokens: int,
        chunk_bytes: int,
        local_bytes: int,
        borrow_bytes: int,
        host_bytes: int,
    ) -> None:
        self.block_bytes = block_bytes
        self.block_tokens = block_tokens
        self.chunk_bytes = chunk_bytes
        self.chunk_blocks = chunk_bytes // block_bytes
        self.local_blocks = local_bytes // block_bytes
        self.local_chunks = -(-self.local_blocks // self.chunk_blocks)
        self.borrow_chunks = borrow_bytes // chunk_bytes
        self.host_blocks = host_bytes // chunk_bytes * self.chunk_blocks
        self.mapped_local = self.local_chunks
        self.local_used = 0
        self.host_used = 0
        self.peer = PeerMemory(self.chunk_blocks)
        self.holdings: dict[str, Holding] = {}
        self._copied: dict[Holding, int] = {}
        """How many copies there are of those that have any."""

    # -- sizes -------------------------------------------------------------------------------------------------

    @property
    def sure_blocks(self) -> int:
        """Blocks that can be had whatever others do."""
        return self.local_blocks + self.host_blocks

    @property
    def local_bytes(self) -> int:
        """Memory taken of the model's own GPU."""
        return self.mapped_local * self.chunk_bytes

    @property
    def borrowed_bytes(self) -> int:
        """Memory taken of other GPUs."""
        return self.peer.chunks * self.chunk_bytes

    @property
    def free_local(self) -> int:
        """Local blocks that are mapped and not given out."""
        return min(self.mapped_local * self.chunk_blocks, self.local_blocks) - self.local_used

    def remote_rooms(self) -> tuple[int, int]:
        """Blocks of slower memory that could be given out, copies that may be dropped included, and those of leases."""
        peer = self.peer.free
        copies = sum([count for one, count in self._copied.items() if one.is_seated])
        return peer + self.host_blocks - self.host_used + copies, peer

    @property
    def peer_block_s(self) -> float | None:
        """Time that the slowest link of the leases takes for a block."""
        rate = self.peer.slowest_bytes_per_s
        return None if rate is None else self.block_bytes / rate

    def map_local(self, chunks: int) -> None:
        """Give so many more local chunks memory."""
        self.mapped_local += chunks

    def unmap_local(self, chunks: int) -> int:
        """Take the memory of at most so many empty local chunks away; returns of how many."""
        taken = max(0, min(chunks, self.free_local // self.chunk_blocks, self.mapped_local))
        self.mapped_local -= taken
        return taken

    def used_chunks(self, tier: Tier) -> int:
        """Chunks of leased or of host memory that blocks are given out of."""
        return -(-(self.host_used if tier is Tier.HOST else self.peer.used) // self.chunk_blocks)

    # -- blocks ------------------------------------------------------------------------------------------------

    def grow(self, prompt_id: str, local: int, remote: int = 0) -> None:
        """Give a prompt more blocks."""
        holding = self.holdings.setdefault(prompt_id, Holding())
        holding.local += local
        self.local_used += local
        holding.remote += self.take_remote(remote)

    def fill(self, blocks: Mapping[str, int]) -> None:
        """Give prompts that lie in local memory alone as many blocks as this."""
        for prompt_id, count in blocks.items():
            holding = self.holdings[prompt_id]
            self.local_used += count - holding.local
            holding.local = count

    def page_out(self, prompt_id: str, computed: int, kept: int) -> Counter[int]:
        """Begin to move a prompt's local blocks away, all but the first `kept` of its blocks being dropped; returns how
        many are copied to which place. They are local until it has `left`."""
        holding = self.holdings[prompt_id]
        holding.is_seated = False
        beyond = max(0, holding.local - kept)
        holding.local -= beyond
        self.local_used -= beyond
        self._trim(holding, kept - holding.local)
        copies = holding.copies.total()
        saved = copies if computed <= holding.saved_tokens else min(copies, holding.saved_tokens // self.block_tokens)
        fresh = self.take_remote(holding.local - copies)
        written = Counter(fresh)
        if copies > saved:
            written[next(reversed(holding.copies))] += copies - saved
        holding.remote += fresh + holding.copies
        self._set_copies(holding, Counter())
        holding.saved_tokens = computed
        return written

    def left(self, prompt_id: str) -> None:
        """A prompt that was to leave has."""
        holding = self.holdings[prompt_id]
        self.local_used -= holding.local
        holding.local = 0

    def page_in(self, prompt_id: str, computed: int, local: int) -> Counter[int]:
        """Begin to bring so many of a prompt's blocks home; returns how many are copied from which place. What they are
        copied from stays as copies."""
        holding = self.holdings[prompt_id]
        missing = local - holding.local
        taken: Counter[int] = Counter()
        for place in sorted(holding.remote, reverse=True):  # leases before the host, whose copies are dropped last
            part = min(missing - taken.total(), holding.remote[place])
            if part > 0:
                taken[place] = part
        holding.remote -= taken
        self._set_copies(holding, holding.copies + taken)
        holding.saved_tokens = computed
        holding.local += missing
        self.local_used += missing
        return taken

    def release(self, prompt_id: str) -> None:
        """Give back all that a prompt holds, if anything."""
        holding = self.holdings.pop(prompt_id, None)
        if holding is not None:
            self.local_used -= holding.local
            self._give_back(holding.remote + holding.copies)
            self._copied.pop(holding, None)

    def take_remote(self, count: int) -> Counter[int]:
        """Blocks of slower memory by place: of leases, then of the host. Raises ValueError if there are not so many."""
        if not count:
            return Counter()
        self._drop_copies_for(count)
        if count > self.peer.free + self.host_blocks - self.host_used:
            raise ValueError(f"{count} blocks of slower memory asked, too few are free")
        taken = self.peer.take(count)
        if hosted := count - taken.total():
            taken[HOST] = hosted
            self.host_used += hosted
        return taken

    # -- leases ------------------------------------------------------------------------------------------------

    def drop_copies_in(self, lease_id: int) -> None:
        """Forget all copies that lie in a lease."""
        for holding in list(self._copied):
            self._give_back(Counter({lease_id: holding.copies.pop(lease_id, 0)}))
            self._set_copies(holding, holding.copies)

    def vacate(self, lease_id: int, chunks: int) -> tuple[Counter[int], list[str]]:
        """Move what lies in so many chunks of a lease: to other leases, else the host; returns how many blocks go to
        which place, and the prompts that found no room and have lost all. The chunks are empty from now on, and
        `vacating` until `vacated`."""
        lease = self.peer.leases[lease_id]
        excess = max(0, lease.used - (lease.chunks - lease.vacating - chunks) * self.chunk_blocks)
        rooms = self.peer.rooms() | {HOST: self.host_blocks - self.host_used}
        moved: Counter[int] = Counter()
        lost: list[str] = []
        for prompt_id in list(self.holdings):
            here = min(excess, self.holdings[prompt_id].remote[lease_id])
            if here and sum(rooms.values()) < here:
                self.release(prompt_id)
                lost.append(prompt_id)
                excess -= here
                rooms = self.peer.rooms() | {HOST: self.host_blocks - self.host_used}
                continue
            for place in rooms:
                part = min(here, rooms[place])
                if part:
                    self._shift(prompt_id, lease_id, place, part)
                    rooms[place] -= part
                    moved[place] += part
                    here -= part
                    excess -= part
        lease.vacating += chunks
        return moved, lost

    def vacated(self, lease_id: int, chunks: int) -> None:
        """What was to leave has; the chunks are given back."""
        self.peer.leases[lease_id].vacating -= chunks
        self.peer.give_up(lease_id, chunks)

    def promote(self, most: int) -> Counter[int]:
        """Move up to so many blocks from host memory to leases with room; returns how many go where."""
        moved: Counter[int] = Counter()
        rooms = self.peer.rooms()
        hosted = [name for name, holding in self.holdings.items() if holding.remote[HOST]] if rooms else []
        for name in hosted:
            for number, room in rooms.items():
                part = min(most - moved.total(), self.holdings[name].remote[HOST], room - moved[number])
                if part > 0:
                    self._shift(name, HOST, number, part)
                    moved[number] += part
        return +moved

    def check(self) -> None:
        """Raise AssertionError unless every block is counted once."""
        held: Counter[int] = Counter()
        for holding in self.holdings.values():
            held += holding.remote + holding.copies
            assert holding.local >= 0, "fewer than no blocks"
        assert self.local_used == sum(one.local for one in self.holdings.values()), "local blocks are miscounted"
        assert self.host_used == held[HOST], "host blocks are miscounted"
        self.peer.check(held)

    # -- pieces ------------------------------------------------------------------------------------------------

    def _shift(self, prompt_id: str, source: int, target: int, count: int) -> None:
        remote = self.holdings[prompt_id].remote
        remote[source] -= count
        remote[target] += count
        self._give_back(Counter({source: count}))
        self._give_back(Counter({target: -count}))

    def _set_copies(self, holding: Holding, copies: Counter[int]) -> None:
        holding.copies = copies
        count = copies.total()
        if count:
            self._copied[holding] = count
        else:
            self._copied.pop(holding, None)

    def _trim(self, holding: Holding, remote: int) -> None:
        excess = holding.remote.total() - max(0, remote)
        for place in sorted(holding.remote):
            part = min(excess, holding.remote[place])
            if part > 0:
                holding.remote[place] -= part
                self._give_back(Counter({place: part}))
                excess -= part

    def _drop_copies_for(self, count: int) -> None:
        for holding in list(self._copied):
            if self.peer.free + self.host_blocks - self.host_used >= count:
                return
            if holding.is_seated:
                self._give_back(holding.copies)
                self._set_copies(holding, Counter())

    def _give_back(self, blocks: Counter[int]) -> None:
        for place, count in blocks.items():
            if place == HOST:
                self.host_used -= count
            else:
                self.peer.give(place, -count)

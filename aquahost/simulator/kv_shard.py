"""The KV memory of a simulated language model on one GPU: the engine's three tiers, counted instead of held.

What the engine keeps by block id is kept here as numbers by place, so that millions of tokens cost nothing. Chunks are
taken to be filled without gaps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from aquahost.engines.llm.tiers import Tier

HOST = 0
"""The host as a place; other places are leases, by id from 1."""


@dataclass(slots=True, eq=False)
class Lease:
    """Memory of another GPU that is mapped."""

    donor: int
    chunks: int
    bytes_per_s: float
    used: int = 0
    """Blocks given out."""
    keep_chunks: int | None = None
    """How many of its chunks may be kept, while the donor wants some back."""
    vacating: int = 0
    """Chunks whose blocks are on their way elsewhere."""


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
        self, *, block_bytes: int, block_tokens: int, chunk_bytes: int, local_bytes: int, borrow_bytes: int, host_bytes: int
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
        self.leases: dict[int, Lease] = {}
        self.holdings: dict[str, Holding] = {}

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
        return sum(lease.chunks for lease in self.leases.values()) * self.chunk_bytes

    @property
    def free_local(self) -> int:
        """Local blocks that are mapped and not given out."""
        return min(self.mapped_local * self.chunk_blocks, self.local_blocks) - self.local_used

    @property
    def free_peer(self) -> int:
        """Leased blocks that are not given out."""
        return sum(self._free(lease) for lease in self.leases.values())

    @property
    def remote_room(self) -> int:
        """Blocks of slower memory that could be given out, copies that may be dropped included."""
        copies = sum(one.copies.total() for one in self.holdings.values() if one.is_seated)
        return self.free_peer + self.host_blocks - self.host_used + copies

    @property
    def peer_block_s(self) -> float | None:
        """Time that the slowest link of the leases takes for a block."""
        rates = [lease.bytes_per_s for lease in self.leases.values()]
        return self.block_bytes / min(rates) if rates else None

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
        used = self.host_used if tier is Tier.HOST else sum(lease.used for lease in self.leases.values())
        return -(-used // self.chunk_blocks)

    # -- blocks ------------------------------------------------------------------------------------------------

    def grow(self, prompt_id: str, local: int, remote: int = 0) -> None:
        """Give a prompt more blocks."""
        holding = self.holdings.setdefault(prompt_id, Holding())
        holding.local += local
        self.local_used += local
        holding.remote += self.take_remote(remote)

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
        holding.copies = Counter()
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
        holding.copies += taken
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

    def take_remote(self, count: int) -> Counter[int]:
        """Blocks of slower memory by place: of leases, evenly by room, then of the host. Raises ValueError if there are
        not so many."""
        taken: Counter[int] = Counter()
        if not count:
            return taken
        self._drop_copies_for(count)
        rooms = {number: room for number, lease in self.leases.items() if (room := self._free(lease)) > 0}
        peer = min(count, sum(rooms.values()))
        for at, (number, room) in enumerate(sorted(rooms.items(), key=lambda one: one[1])):
            part = min(room, (peer - taken.total()) // (len(rooms) - at))
            taken[number] = part
            self.leases[number].used += part
        taken[HOST] = count - peer
        if taken[HOST] > self.host_blocks - self.host_used:
            raise ValueError(f"{count} blocks of slower memory asked, too few are free")
        self.host_used += taken[HOST]
        return +taken

    # -- leases ------------------------------------------------------------------------------------------------

    def give_up_empty(self, lease_id: int, chunks: int) -> int:
        """Give up to so many empty chunks of a lease back; returns how many. A lease without chunks is forgotten."""
        lease = self.leases[lease_id]
        given = max(0, min(chunks, self._free(lease, closed=True) // self.chunk_blocks))
        lease.chunks -= given
        if not lease.chunks:
            del self.leases[lease_id]
        return given

    def drop_copies_in(self, lease_id: int) -> None:
        """Forget all copies that lie in a lease."""
        for holding in self.holdings.values():
            dropped = Counter({lease_id: holding.copies.pop(lease_id, 0)})
            self._give_back(dropped)

    def vacate(self, lease_id: int, chunks: int) -> tuple[Counter[int], list[str]]:
        """Move what lies in so many chunks of a lease: to other leases, else the host; returns how many blocks go to
        which place, and the prompts that found no room and have lost all. The chunks are empty from now on, and
        `vacating` until `vacated`."""
        lease = self.leases[lease_id]
        excess = max(0, lease.used - (lease.chunks - lease.vacating - chunks) * self.chunk_blocks)
        steady = [n for n, one in self.leases.items() if n != lease_id and one.keep_chunks is None]
        rooms = {n: self._free(self.leases[n]) for n in steady} | {HOST: self.host_blocks - self.host_used}
        moved: Counter[int] = Counter()
        lost: list[str] = []
        for prompt_id in reversed(list(self.holdings)):
            here = min(excess, self.holdings[prompt_id].remote[lease_id])
            if here and sum(rooms.values()) < here:
                self.release(prompt_id)
                lost.append(prompt_id)
                excess -= here
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
        lease = self.leases[lease_id]
        lease.vacating -= chunks
        lease.chunks -= chunks
        if not lease.chunks:
            del self.leases[lease_id]

    def promote(self, most: int) -> Counter[int]:
        """Move up to so many blocks from host memory to leases with room; returns how many go where."""
        moved: Counter[int] = Counter()
        for number, lease in self.leases.items():
            for prompt_id, holding in self.holdings.items():
                part = min(most - moved.total(), holding.remote[HOST], self._free(lease))
                if part > 0:
                    self._shift(prompt_id, HOST, number, part)
                    moved[number] += part
        return moved

    def check(self) -> None:
        """Raise AssertionError unless every block is counted once."""
        held: Counter[int] = Counter()
        for holding in self.holdings.values():
            held += holding.remote + holding.copies
            assert holding.local >= 0, "fewer than no blocks"
        assert self.local_used == sum(one.local for one in self.holdings.values()), "local blocks are miscounted"
        assert self.host_used == held[HOST], "host blocks are miscounted"
        for number, lease in self.leases.items():
            assert lease.used == held[number], f"blocks of lease {number} are miscounted"
            assert lease.used <= (lease.chunks - lease.vacating) * self.chunk_blocks, f"lease {number} is overfull"

    # -- pieces ------------------------------------------------------------------------------------------------

    def _free(self, lease: Lease, *, closed: bool = False) -> int:
        if lease.keep_chunks is not None and not closed:
            return 0
        return (lease.chunks - lease.vacating) * self.chunk_blocks - lease.used

    def _shift(self, prompt_id: str, source: int, target: int, count: int) -> None:
        remote = self.holdings[prompt_id].remote
        remote[source] -= count
        remote[target] += count
        self._give_back(Counter({source: count}))
        if target == HOST:
            self.host_used += count
        else:
            self.leases[target].used += count

    def _trim(self, holding: Holding, remote: int) -> None:
        excess = holding.remote.total() - max(0, remote)
        for place in sorted(holding.remote):
            part = min(excess, holding.remote[place])
            if part > 0:
                holding.remote[place] -= part
                self._give_back(Counter({place: part}))
                excess -= part

    def _drop_copies_for(self, count: int) -> None:
        for holding in self.holdings.values():
            if self.free_peer + self.host_blocks - self.host_used >= count:
                return
            if holding.is_seated:
                self._give_back(holding.copies)
                holding.copies = Counter()

    def _give_back(self, blocks: Iterable[int] | Counter[int]) -> None:
        for place, count in Counter(blocks).items():
            if place == HOST:
                self.host_used -= count
            elif place in self.leases:
                self.leases[place].used -= count

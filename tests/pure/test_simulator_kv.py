"""KV memory that is counted: no block is lost or given twice, whatever happens in whatever order."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aquahost.engines.llm.tiers import Tier
from aquahost.simulator.kv_shard import KvShard
from aquahost.simulator.links import HOST


def shard(local: int = 20, host: int = 40) -> KvShard:
    """Chunks of four blocks of 16 tokens."""
    return KvShard(
        block_bytes=16,
        block_tokens=16,
        chunk_bytes=64,
        local_bytes=16 * local,
        borrow_bytes=64 * 20,
        host_bytes=16 * host,
    )


def test_a_prompt_goes_out_and_comes_back_and_only_new_blocks_are_written_again() -> None:
    kv = shard()
    kv.peer.map(1, donor=3, chunks=2, bytes_per_s=1e9)
    kv.grow("a", 6)
    assert kv.page_out("a", computed=90, kept=6) == {1: 6}, "to the neighbour first"
    assert kv.free_local == 14, "its local blocks are free when it has left"
    kv.left("a")
    assert kv.free_local == 20
    assert kv.page_in("a", 90, 6) == {1: 6}
    kv.holdings["a"].is_seated = True
    kv.grow("a", 2)
    # 90 tokens were saved: five whole blocks. The sixth has grown, two are new.
    assert kv.page_out("a", computed=120, kept=8) == {1: 3}
    kv.check()


def test_what_a_neighbour_has_no_room_for_goes_to_the_host() -> None:
    kv = shard()
    kv.peer.map(1, donor=3, chunks=1, bytes_per_s=1e9)
    kv.grow("a", 6)
    assert kv.page_out("a", computed=96, kept=6) == {1: 4, HOST: 2}
    assert kv.used_chunks(Tier.HOST) == 1
    kv.check()


def test_copies_make_room_for_others() -> None:
    kv = shard(host=8)
    kv.grow("a", 8)
    kv.page_out("a", 128, 8)
    kv.left("a")
    kv.page_in("a", 128, 8)
    kv.holdings["a"].is_seated = True
    assert kv.remote_rooms() == (8, 0)
    kv.grow("b", 4)
    assert kv.page_out("b", 64, 4) == {HOST: 4}
    kv.check()
    with pytest.raises(ValueError, match="asked"):
        kv.take_remote(5)


def test_a_recalled_lease_is_emptied_to_others_then_to_the_host_and_else_prompts_are_lost() -> None:
    kv = shard(host=4)
    kv.peer.map(1, donor=3, chunks=4, bytes_per_s=1e9)
    kv.grow("a", 8)
    kv.grow("b", 8)
    for name in ("a", "b"):
        kv.page_out(name, 128, 8)
        kv.left(name)
    kv.peer.map(2, donor=4, chunks=1, bytes_per_s=1e9)
    kv.peer.recall(1, keep_chunks=0)
    moved, lost = kv.vacate(1, 4)
    assert moved.total() == 8
    assert moved == {2: 4, HOST: 4}
    assert lost == ["b"], "the one that came last"
    kv.vacated(1, 4)
    assert 1 not in kv.peer.leases
    kv.check()


class KvMachine(RuleBasedStateMachine):
    """Prompts that grow, leave, come back and end, while leases come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.kv = shard()
        self.tokens: dict[str, int] = {}
        self.where: dict[str, str] = {}
        self.count = 0
        self.vacating: dict[int, int] = {}

    def of(self, place: str) -> list[str]:
        return [name for name, where in self.where.items() if where == place]

    @rule(blocks=st.integers(1, 6))
    def begin(self, blocks: int) -> None:
        if blocks <= self.kv.free_local:
            self.count += 1
            name = f"p{self.count}"
            self.kv.grow(name, blocks)
            self.kv.holdings[name].is_seated = True
            self.tokens[name], self.where[name] = blocks * 16, "here"

    @precondition(lambda self: self.of("here"))
    @rule(data=st.data(), spare=st.integers(0, 15))
    def leave(self, data: st.DataObject, spare: int) -> None:
        name = data.draw(st.sampled_from(self.of("here")))
        holding = self.kv.holdings[name]
        if holding.local <= self.kv.remote_rooms()[0]:
            self.kv.page_out(name, self.tokens[name] - spare, holding.local + holding.remote.total())
            self.where[name] = "leaving"

    @precondition(lambda self: self.of("leaving"))
    @rule(data=st.data())
    def left(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.of("leaving")))
        self.kv.left(name)
        self.where[name] = "away"

    @precondition(lambda self: self.of("away"))
    @rule(data=st.data(), share=st.floats(0, 1))
    def come_back(self, data: st.DataObject, share: float) -> None:
        name = data.draw(st.sampled_from(self.of("away")))
        local = round(share * self.kv.holdings[name].remote.total())
        if local <= self.kv.free_local:
            self.kv.page_in(name, self.tokens[name], local)
            self.kv.holdings[name].is_seated = True
            self.where[name] = "here"

    @precondition(lambda self: self.where)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.where)))
        self.kv.release(name)
        del self.where[name]

    @rule(chunks=st.integers(1, 4))
    def lend(self, chunks: int) -> None:
        self.count += 1
        self.kv.peer.map(self.count, donor=1, chunks=chunks, bytes_per_s=1e9)

    @precondition(lambda self: set(self.kv.peer.leases) - self.kv.peer.recalled)
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(set(self.kv.peer.leases) - self.kv.peer.recalled)))
        self.kv.peer.recall(lease, 0)
        self.kv.peer.give_up_empty(lease, 99)
        if lease in self.kv.peer.leases:
            self.kv.drop_copies_in(lease)
            self.kv.peer.give_up_empty(lease, 99)
        if lease in self.kv.peer.leases:
            chunks = self.kv.peer.leases[lease].chunks
            _, lost = self.kv.vacate(lease, chunks)
            for name in lost:
                del self.where[name]
            self.vacating[lease] = chunks

    @precondition(lambda self: self.vacating)
    @rule()
    def vacated(self) -> None:
        lease, chunks = self.vacating.popitem()
        self.kv.vacated(lease, chunks)

    @rule(chunks=st.integers(0, 3))
    def resize(self, chunks: int) -> None:
        taken = self.kv.unmap_local(chunks)
        self.kv.map_local(taken)

    @rule()
    def promote(self) -> None:
        self.kv.promote(4)

    @invariant()
    def whole(self) -> None:
        self.kv.check()
        assert self.kv.free_local >= 0
        assert min(self.kv.remote_rooms()) >= 0
        assert set(self.kv.holdings) == set(self.where)


TestKv = KvMachine.TestCase
TestKv.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

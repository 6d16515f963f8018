"""A language model's KV in three tiers: whatever moves where, and whatever fails, greedy output stays the same."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.engine import LlmEngine
from aquahost.engines.llm.tiers import Tier
from aquahost.messages.memory import Claim, Demand, LeaseFailed, LeaseMapped, LeaseReturned
from aquahost.messages.prompts import Finished, Output, PromptState, StateChanged
from aquahost.scheduling.prompt import Stand
from aquahost.scheduling.step_room import StepRoom
from aquahost_cuda.arena import Arena, ChunkMove
from aquahost_cuda.driver import Faults, SlowLink
from aquahost_cuda.emulated.faults import inject
from llm_host import CHUNK, LOAD, MIB, Expected, Make, assert_load_is_right, ids_of, paged, submit_load
from tiny_llms import text_prompt, tokens_of


def test_prompts_are_paged_to_the_host_and_back_and_say_the_same(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=4 * CHUNK, borrow_bytes=0)
    prompts = submit_load(one.engine)
    outputs = one.run()
    assert_load_is_right(outputs, prompts, expected)
    moved = paged(one)
    assert moved["local", "host"] > 0
    assert moved["host", "local"] > 0
    prefilled = [o for o in outputs if isinstance(o, StateChanged) and o.state is PromptState.PREFILLING]
    assert len(prefilled) == len(LOAD), "a prompt was computed twice"


def test_prompts_are_paged_to_neighbours_over_several_links(host: Make, expected: Expected) -> None:
    one = host()
    prompts = submit_load(one.engine)
    outputs = one.run(lambda: any(demand.nbytes for demand in one.heard(Demand)))
    demand = one.heard(Demand)[-1]
    assert demand.granule_bytes == CHUNK
    assert demand.nbytes % CHUNK == 0
    for donor in (1, 2):
        one.broker.grant(one.engine, donor, 2 * CHUNK)
    assert one.used_by_others(1) == one.used_by_others(2) == 2 * CHUNK
    assert len(one.heard(LeaseMapped)) == 0
    outputs += one.run()
    assert len(one.heard(LeaseMapped)) == 2
    assert_load_is_right(outputs, prompts, expected)
    assert set(paged(one)) == {("local", "peer"), ("peer", "local")}
    traffic = {(way.source, way.target): way.nbytes for way in one.engine.stats().traffic}
    assert set(traffic) == {(0, 1), (1, 0), (0, 2), (2, 0)}
    assert traffic[0, 1] + traffic[0, 2] == paged(one)["local", "peer"]
    assert traffic[1, 0] + traffic[2, 0] >= paged(one)["peer", "local"]


def test_what_was_written_out_once_is_not_written_again(host: Make) -> None:
    one = host()
    engine, pager = one.engine, one.engine.sequences.tiers.pager
    engine.submit(text_prompt("a", ids_of(100, 1), max_tokens=60, ignore_eos=True))
    engine.submit(text_prompt("b", ids_of(100, 2), max_tokens=60, ignore_eos=True))
    one.lend(1, 4 * CHUNK)
    engine.cancel("b")
    one.run(lambda: engine.sequences["a"].scheduled.computed == 110)
    sequence = engine.sequences["a"]

    def out_and_in() -> int:
        before = paged(one).get(("local", "peer"), 0)
        suspend(engine, "a")
        one.run(lambda: sequence.scheduled.stand is Stand.RUNNING)
        return paged(one)["local", "peer"] - before

    block = one.memory.layout.block_bytes
    assert out_and_in() == 7 * block
    one.run(lambda: sequence.scheduled.computed >= 120)
    computed = sequence.scheduled.computed
    first_dirty = sequence.residence.saved_tokens // 16
    assert out_and_in() == (-(-computed // 16) - first_dirty) * block
    assert not pager.is_busy
    one.run()


def suspend(engine: LlmEngine, prompt_id: str) -> None:
    """Make the scheduler take a running prompt out, as it does for want of blocks."""
    scheduler = engine.sequences._scheduler
    step = StepRoom(scheduler.prompts, scheduler._sizes, engine.sequences.tiers.room(), budget=0)
    step.give_way(engine.sequences[prompt_id].scheduled)
    assert step.plan.paged_out
    engine.sequences._page_out(engine.sequences[prompt_id])


@pytest.mark.parametrize("tier", ["peer", "host", "both"])
def test_a_prompt_beyond_local_memory_runs_with_its_tail_in_place(tier: str, host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("long", ids, max_tokens=40, ignore_eos=True))
    outputs: list[Output] = []
    if tier != "host":
        one.lend(2, (4 if tier == "peer" else 1) * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.sequences["long"].scheduled.computed > 705)
    tiers = [one.memory.pool.tier(block) for block in one.engine.sequences["long"].residence.blocks]
    assert tiers[:16] == [Tier.LOCAL] * 16
    remote = {"peer": {Tier.PEER}, "host": {Tier.HOST}, "both": {Tier.PEER, Tier.HOST}}[tier]
    assert set(tiers[16:]) == remote
    outputs += one.run()
    assert tokens_of(outputs, "long") == expected(ids, 40)
    if tier == "peer":
        (came,) = [way.nbytes for way in one.engine.stats().traffic if (way.source, way.target) == (2, 0)]
        assert came > 30 * 27 * one.memory.block_bytes, "every step reads the tail where it lies"


def test_a_lease_that_is_recalled_moves_to_another_lease_before_the_host(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("long", ids, max_tokens=60, ignore_eos=True))
    outputs: list[Output] = []
    first = one.lend(1, 2 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.sequences["long"].scheduled.computed > 705)
    second = one.broker.grant(one.engine, 3, CHUNK)
    one.broker.recall(one.engine, first)
    outputs += one.run(lambda: one.broker.returned_bytes(first) == 2 * CHUNK)
    assert one.used_by_others(1) == 0
    assert one.used_by_others(3) == CHUNK
    assert set(one.memory.leases) == {second}
    outputs += one.run()
    assert tokens_of(outputs, "long") == expected(ids, 60)
    assert paged(one)["peer", "peer"] == CHUNK
    assert paged(one)["peer", "host"] > 0


def test_part_of_a_lease_goes_back_empty_chunks_first(host: Make) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    one.engine.submit(text_prompt("long", ids_of(700, 2), max_tokens=400, ignore_eos=True))
    lease = one.lend(1, 3 * CHUNK)
    one.run(lambda: one.engine.sequences["long"].scheduled.computed > 700)
    assert one.broker.returned_bytes(lease) == 0
    before = paged(one)
    one.broker.recall(one.engine, lease, keep_bytes=2 * CHUNK)
    one.engine.tend()
    one.broker.pump(one.engine)
    assert one.broker.returned_bytes(lease) == CHUNK
    assert one.used_by_others(1) == 2 * CHUNK
    assert paged(one) == before, "an empty chunk was to go, and nothing to be moved"
    one.engine.cancel("long")


def test_with_no_room_anywhere_a_recalled_prompt_is_computed_again(host: Make, expected: Expected) -> None:
    one = host()
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    lease = one.lend(1, 4 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    one.broker.recall(one.engine, lease)
    outputs += one.run(lambda: one.broker.returned_bytes(lease) == 4 * CHUNK)
    assert one.used_by_others(1) == 0
    outputs += one.run()
    assert_load_is_right(outputs, prompts, expected)
    assert not one.engine.sequences.tiers.memory.leases


def test_two_donors_recall_while_prompts_are_being_paged_in(host: Make, expected: Expected) -> None:
    slow = {"peer_bytes_per_s": 3e8, "host_bytes_per_s": 3e8}
    one = host(node=slow, host_kv_bytes=8 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    leases = [one.lend(donor, 2 * CHUNK, outputs) for donor in (1, 2)]
    pager = one.engine.sequences.tiers.pager

    def paging_in() -> bool:
        return any(p.direction.value == "in" and p.transfer is not None for p in pager._under_way.values())

    outputs += one.run(paging_in)
    for lease in leases:
        one.broker.recall(one.engine, lease)
    outputs += one.run(lambda: all(one.broker.returned_bytes(lease) == 2 * CHUNK for lease in leases))
    assert one.used_by_others(1) == one.used_by_others(2) == 0
    outputs += one.run()
    assert_load_is_right(outputs, prompts, expected)


def test_what_lies_in_host_memory_comes_to_a_neighbour_that_has_room(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("long", ids, max_tokens=80, ignore_eos=True))
    outputs = one.run(lambda: one.engine.sequences["long"].scheduled.computed > 705)
    assert one.engine.stats().host_bytes > 0
    one.broker.grant(one.engine, 1, 4 * CHUNK)
    outputs += one.run(lambda: not any(one.memory.pool.used(c) for c in one.memory.host_mapped_chunks()))
    assert one.engine.has_work(), "it was to happen while the prompt runs"
    outputs += one.run()
    assert tokens_of(outputs, "long") == expected(ids, 80)
    assert paged(one)["host", "peer"] > 0


@pytest.mark.parametrize("moment", ["suspended", "in place"])
def test_a_lost_lease_costs_time_and_nothing_else(moment: str, host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    outputs: list[Output] = []
    if moment == "suspended":
        prompts = submit_load(one.engine)
        lease = one.lend(1, 4 * CHUNK, outputs)
        outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    else:
        prompts = {"p0": ids_of(700, 7)}
        one.engine.submit(text_prompt("p0", prompts["p0"], max_tokens=30, ignore_eos=True))
        lease = one.lend(1, 4 * CHUNK, outputs)
        outputs += one.run(lambda: one.engine.sequences["p0"].scheduled.computed > 705)
    inject(str(one.node), Faults(lost_gpus=(1,)))
    one.broker.lose(one.engine, lease)
    outputs += one.run(lambda: not one.memory.leases)
    inject(str(one.node), Faults())
    outputs += one.run()
    if moment == "suspended":
        assert_load_is_right(outputs, prompts, expected)
    else:
        assert tokens_of(outputs, "p0") == expected(prompts["p0"], 30)


def test_a_link_that_becomes_a_hundred_times_slower_costs_time_and_nothing_else(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    lease = one.lend(1, 2 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended)
    slow = tuple(SlowLink(source=a, target=b, factor=100.0) for a, b in ((0, 1), (1, 0)))
    inject(str(one.node), Faults(slow_links=slow))
    outputs += one.run(lambda: one.engine.stats().output_tokens > 350)
    one.broker.recall(one.engine, lease)
    outputs += one.run()
    one.run(lambda: one.broker.returned_bytes(lease) == 2 * CHUNK)
    assert_load_is_right(outputs, prompts, expected)


def test_a_neighbour_that_is_lost_before_anyone_said_so_is_reported(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    lease = one.lend(1, 4 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    inject(str(one.node), Faults(lost_gpus=(1,)))
    outputs += one.run(lambda: one.heard(LeaseFailed))
    inject(str(one.node), Faults())
    assert [report.lease_id for report in one.heard(LeaseFailed)] == [lease]
    outputs += one.run()
    assert_load_is_right(outputs, prompts, expected)


def test_a_lease_that_cannot_be_mapped_is_refused_and_leaves_nothing(host: Make) -> None:
    one = host(node={"faults": Faults(no_peer_access=((0, 2),)), "gpu_bytes": 64 * MIB})
    denied = one.broker.grant(one.engine, 2, CHUNK)
    too_large = one.broker.grant(one.engine, 1, 33 * CHUNK)
    one.broker.pump(one.engine)
    assert [report.lease_id for report in one.heard(LeaseFailed)] == [denied, too_large]
    assert not one.memory.leases
    assert [one.used_by_others(gpu) for gpu in (1, 2)] == [0, 0]


def test_leases_are_given_back_when_prompts_are_gone_for_a_while(host: Make) -> None:
    one = host()
    submit_load(one.engine)
    lease = one.lend(1, CHUNK)
    one.run()
    one.round()
    assert one.broker.returned_bytes(lease) == 0
    one.rest()
    assert one.heard(Demand)[-1].nbytes == 0
    assert one.broker.returned_bytes(lease) == CHUNK
    assert one.used_by_others(1) == 0


def test_idle_local_memory_is_lent_and_claimed_again_before_it_is_used(host: Make, expected: Expected) -> None:
    one = host(kv_bytes=8 * CHUNK)
    one.rest()
    assert one.engine.stats().kv_bytes == 2 * CHUNK
    weights = one.heard(Claim)[-1].nbytes - 2 * CHUNK
    one.broker.broker.hesitates = True
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    for _ in range(20):
        one.round()
    assert one.engine.stats().kv_bytes == 2 * CHUNK, "it took memory that was not settled"
    assert one.heard(Claim)[-1].nbytes - weights == 5 * CHUNK
    one.broker.broker.hesitates = False
    outputs = one.run()
    assert tokens_of(outputs, "a") == expected(ids, 20)
    assert not paged(one)


def test_a_refused_claim_is_made_up_for_with_slower_memory(host: Make, expected: Expected) -> None:
    one = host(kv_bytes=4 * CHUNK, host_kv_bytes=8 * CHUNK)
    one.rest()
    work_bytes = one.device.taken_bytes(one.engine.footprint.peak_bytes)
    one.broker.broker.limit_bytes = one.heard(Claim)[-1].nbytes + work_bytes
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    outputs = one.run()
    assert tokens_of(outputs, "a") == expected(ids, 20)
    assert one.engine.stats().kv_bytes == CHUNK


def test_cancelling_at_any_moment_frees_everything(host: Make) -> None:
    one = host(node={"peer_bytes_per_s": 2e8})
    for rounds in range(0, 120, 7):
        prompts = submit_load(one.engine)
        if not one.memory.leases:
            one.lend(1, 4 * CHUNK)
        for _ in range(rounds):
            one.round()
        for name in prompts:
            one.engine.cancel(name)
            one.engine.check()
        one.run(lambda: not one.engine.sequences.tiers.pager.is_busy)
        assert one.engine.stats().kv_used_bytes == 0


def test_returned_bytes_never_exceed_the_lease(host: Make) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    one.engine.submit(text_prompt("long", ids_of(700, 7), max_tokens=30, ignore_eos=True))
    lease = one.lend(1, 3 * CHUNK)
    one.run(lambda: one.engine.sequences["long"].scheduled.computed > 705)
    one.broker.recall(one.engine, lease, keep_bytes=2 * CHUNK)
    one.broker.recall(one.engine, lease, keep_bytes=0)
    one.broker.recall(one.engine, lease, keep_bytes=CHUNK)
    one.run(lambda: one.broker.returned_bytes(lease) >= 3 * CHUNK)
    one.broker.recall(one.engine, lease, keep_bytes=0)
    one.run()
    assert one.broker.returned_bytes(lease) == 3 * CHUNK
    assert all(report.nbytes > 0 for report in one.heard(LeaseReturned))


@pytest.mark.parametrize("where", ["host", "GPU 2"])
def test_an_idle_model_is_parked_and_wakes_with_its_next_prompt(where: str, host: Make, expected: Expected) -> None:
    one = host(park_after_s=10.0, kv_bytes=4 * CHUNK)
    _, total = one.device._driver.memory_of(0)  # type: ignore[attr-defined]
    one.broker.clock.advance(11.0)
    one.run(lambda: one.heard(Demand))
    if where == "GPU 2":
        one.broker.grant(one.engine, 2, one.heard(Demand)[-1].nbytes)
    one.broker.clock.advance(1.0)
    one.run(lambda: one.engine.stats().parked)
    one.run(lambda: one.engine.stats().kv_bytes == 0)
    stats = one.engine.stats()
    assert (stats.parked, stats.weights_bytes, stats.kv_bytes) == (where, 0, 0)
    assert one.device._driver.memory_of(0) == (total, total), "a parked model holds memory of its GPU"  # type: ignore[attr-defined]
    assert one.broker.broker.claimed_bytes == 0
    ids = ids_of(60, 3)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    outputs = one.run()
    assert tokens_of(outputs, "a") == expected(ids, 20)
    assert not paged(one), "it was to wait for its own memory"
    assert one.engine.stats().parked == ""
    assert one.used_by_others(2) == 0


def test_a_parked_model_whose_gpu_is_taken_refuses_prompts_and_lives(host: Make, expected: Expected) -> None:
    one = host(park_after_s=10.0)
    one.broker.clock.advance(11.0)
    one.run(lambda: one.heard(Demand))
    one.broker.clock.advance(1.0)
    one.run(lambda: one.engine.stats().parked)
    one.broker.broker.limit_bytes = 1
    ids = ids_of(60, 3)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    (finished,) = one.run()
    assert isinstance(finished, Finished)
    assert finished.error is not None
    assert (finished.error.status, finished.error.code) == (503, "out_of_memory")
    one.broker.broker.limit_bytes = 1 << 40
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    assert tokens_of(one.run(), "a") == expected(ids, 20)


def test_a_model_without_memory_to_compute_refuses_prompts_and_lives(host: Make, expected: Expected) -> None:
    one = host()
    one.broker.broker.limit_bytes = one.heard(Claim)[-1].nbytes
    ids = ids_of(60, 3)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    (finished,) = one.run()
    assert isinstance(finished, Finished)
    assert finished.error is not None
    assert finished.error.code == "out_of_memory"
    one.broker.broker.limit_bytes = 1 << 40
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    assert tokens_of(one.run(), "a") == expected(ids, 20)
    assert one.engine.stats().work_bytes >= one.engine.footprint.peak_bytes > 0
    one.rest()
    assert one.engine.stats().work_bytes == 0


def test_no_memory_is_unmapped_before_the_gpu_has_finished_with_it(
    host: Make, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    done: list[str] = []
    unmap, finish, move_finish = Arena.unmap, EngineDevice.finish_work, ChunkMove.finish
    monkeypatch.setattr(EngineDevice, "finish_work", lambda device: (done.append("finished"), finish(device)))
    monkeypatch.setattr(Arena, "unmap", lambda arena, chunks: (done.append("unmap"), unmap(arena, chunks)))
    monkeypatch.setattr(ChunkMove, "finish", lambda move: (done.append("unmap"), move_finish(move)))
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("long", ids, max_tokens=60, ignore_eos=True))
    outputs: list[Output] = []
    lease = one.lend(1, 2 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.sequences["long"].scheduled.computed > 705)
    one.broker.recall(one.engine, lease)
    outputs += one.run()
    assert tokens_of(outputs, "long") == expected(ids, 60)
    assert done.count("unmap") >= 2
    assert all(before == "finished" for before, after in pairwise(["", *done]) if after == "unmap")

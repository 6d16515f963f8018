"""Leases that come, go and vanish while blocks are on their way: nothing is lost, leaked or left hanging."""

from __future__ import annotations

import pytest

from aquahost.engines.llm.engine import STARVED_PATIENCE_S
from aquahost.engines.llm.tiers import Tier
from aquahost.messages.memory import LeaseGranted, LeaseMapped, LeaseReturned
from aquahost.messages.prompts import Finished, Output
from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError
from aquahost_cuda.driver import Faults, SlowLink
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.vmm import Kind, Location
from llm_host import CHUNK, Expected, Host, Make, assert_load_is_right, ids_of, paged, submit_load
from tiny_llms import text_prompt, tokens_of


def paging_out(one: Host) -> bool:
    pager = one.engine.sequences.tiers.pager
    return any(p.direction.value == "out" and p.transfer is not None for p in pager._under_way.values())


@pytest.mark.parametrize("way", ["recall", "promote"])
def test_a_chunk_that_moves_while_a_prompt_is_paged_into_it_keeps_every_byte(
    way: str, host: Make, expected: Expected
) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    slow_target = 1 if way == "recall" else -1
    lease = one.lend(1, 2 * CHUNK, outputs) if way == "recall" else None
    slow = (SlowLink(source=0, target=slow_target, factor=60.0),)
    inject(str(one.node), Faults(slow_links=slow))
    outputs += one.run(lambda: paging_out(one))
    one.broker.grant(one.engine, 2, 2 * CHUNK)
    if lease is not None:
        one.broker.recall(one.engine, lease)
    outputs += one.run(lambda: not paging_out(one) and not one.engine.sequences.tiers.leases.is_busy)
    inject(str(one.node), Faults())
    outputs += one.run()
    assert_load_is_right(outputs, prompts, expected)


@pytest.mark.parametrize("before", ["idle", "parked"])
def test_a_prompt_waits_for_local_memory_that_is_coming(before: str, host: Make, expected: Expected) -> None:
    one = host(kv_bytes=8 * CHUNK, host_kv_bytes=8 * CHUNK, park_after_s=10.0 if before == "parked" else None)
    one.rest()
    if before == "parked":
        one.broker.clock.advance(11.0)
        one.run(lambda: (one.engine.sequences.tiers.lies_idle and one.engine._parking.where == "") or True)
        for _ in range(3):
            one.broker.clock.advance(1.0)
            one.run(lambda: not one.engine.sequences.tiers.is_busy)
        one.run(lambda: one.engine.stats().parked)
    ids = ids_of(700, 7)
    one.engine.submit(text_prompt("a", ids, max_tokens=20, ignore_eos=True))
    outputs = one.run(lambda: one.engine.sequences["a"].scheduled.computed > 700)
    tiers = {one.memory.pool.tier(block) for block in one.engine.sequences["a"].residence.blocks}
    assert tiers == {Tier.LOCAL}
    outputs += one.run()
    assert tokens_of(outputs, "a") == expected(ids, 20)


def test_a_replacement_is_used_and_not_given_back(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    ids = ids_of(1100, 7)
    one.engine.submit(text_prompt("long", ids, max_tokens=60, ignore_eos=True))
    outputs: list[Output] = []
    first = one.lend(1, 4 * CHUNK, outputs)
    outputs += one.run(
        lambda: one.engine.sequences["long"].scheduled.computed > 1102 and not one.engine.sequences.tiers.is_busy
    )
    second = one.broker.grant(one.engine, 3, 4 * CHUNK)
    one.broker.recall(one.engine, first)
    outputs += one.run(lambda: one.broker.returned_bytes(first) == 4 * CHUNK)
    assert one.broker.returned_bytes(second) <= CHUNK, "the replacement went back before it was used"
    assert paged(one)["peer", "peer"] >= 2 * CHUNK, "it went to the host past a neighbour with room"
    outputs += one.run()
    assert tokens_of(outputs, "long") == expected(ids, 60)


def test_a_lease_meant_for_weights_that_stay_goes_back_whole(host: Make) -> None:
    one = host()
    for lease_id, nbytes in ((7, CHUNK + 4096), (8, 4096)):
        one.engine.on_memory(LeaseGranted(lease_id, 1, nbytes))
        one.broker.pump(one.engine)
        assert one.broker.returned_bytes(lease_id) == nbytes
    assert not one.heard(LeaseMapped)
    assert not one.memory.leases


@pytest.mark.parametrize("lost_first", [True, False])
def test_a_recall_and_a_loss_may_cross(lost_first: bool, host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    lease = one.lend(1, 2 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    for step in (one.broker.lose, one.broker.recall) if lost_first else (one.broker.recall, one.broker.lose):
        step(one.engine, lease)
    outputs += one.run()
    assert lease not in one.memory.leases
    assert_load_is_right(outputs, prompts, expected)


def test_a_move_that_is_given_up_leaves_nothing_of_its_target(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=0, node={"peer_bytes_per_s": 2e8})
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    first = one.lend(1, 2 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    second = one.broker.grant(one.engine, 2, CHUNK)
    one.broker.recall(one.engine, first)
    outputs += one.run(lambda: one.engine.sequences.tiers.leases.mover.is_target(second))
    one.broker.lose(one.engine, first)
    outputs += one.run(lambda: first not in one.memory.leases)
    one.broker.recall(one.engine, second)
    outputs += one.run()
    one.run(lambda: one.broker.returned_bytes(second) == CHUNK)
    assert_load_is_right(outputs, prompts, expected)


def test_host_memory_that_the_driver_refuses_is_never_promised(host: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Arena.map

    def refuse(arena: Arena, chunks: list[int], location: Location) -> None:
        if location.kind is Kind.HOST:
            raise DriverError("cuMemCreate", "CUDA_ERROR_NOT_SUPPORTED")
        real(arena, chunks, location)

    monkeypatch.setattr(Arena, "map", refuse)
    one = host(host_kv_bytes=8 * CHUNK)
    assert one.engine.footprint.max_context == 257


def test_a_prompt_whose_memory_is_not_to_be_had_is_refused_and_others_go_on(host: Make, expected: Expected) -> None:
    one = host(kv_bytes=4 * CHUNK)
    one.rest()
    work_bytes = one.device.taken_bytes(one.engine.footprint.peak_bytes)
    one.broker.broker.limit_bytes = one.broker.broker.claimed_bytes + work_bytes
    one.engine.submit(text_prompt("large", ids_of(700, 7), max_tokens=20, ignore_eos=True))
    ids = ids_of(60, 3)
    one.engine.submit(text_prompt("small", ids, max_tokens=20, ignore_eos=True))
    outputs = []
    for _ in range(20):
        one.broker.clock.advance(STARVED_PATIENCE_S / 5)
        outputs += one.round()
    outputs += one.run()
    (refused,) = [o for o in outputs if isinstance(o, Finished) and o.prompt_id == "large"]
    assert refused.error is not None
    assert refused.error.code == "out_of_memory"
    assert tokens_of(outputs, "small") == expected(ids, 20)


def test_no_more_host_memory_is_taken_than_allowed(host: Make, expected: Expected) -> None:
    one = host(host_kv_bytes=2 * CHUNK)
    prompts = submit_load(one.engine)
    outputs: list[Output] = []
    lease = one.lend(1, 4 * CHUNK, outputs)
    outputs += one.run(lambda: one.engine.stats().suspended and not one.engine.sequences.tiers.pager.is_busy)
    one.broker.recall(one.engine, lease)
    most = 0
    while one.engine.has_work():
        outputs += one.round()
        most = max(most, one.memory.mapped_host)
    assert most <= 2
    assert_load_is_right(outputs, prompts, expected)


def test_every_lease_is_returned_exactly_once(host: Make) -> None:
    one = host(host_kv_bytes=8 * CHUNK)
    submit_load(one.engine)
    leases = [one.lend(donor, CHUNK) for donor in (1, 2, 3)]
    one.run()
    for lease in leases:
        one.broker.recall(one.engine, lease)
    one.run(lambda: not one.memory.leases)
    assert [one.broker.returned_bytes(lease) for lease in leases] == [CHUNK] * 3
    assert sum(report.nbytes for report in one.heard(LeaseReturned)) == 3 * CHUNK

"""AQUA's policies as a peer: static pairs, all or nothing, every four seconds; slices of five iterations."""

from __future__ import annotations

import pytest

from aquahost.config.settings import SchedulerSettings
from aquahost.events import EventKind
from aquahost.leasing import events
from aquahost.leasing.instructions import GrantLease, Instruction, RecallLease, RefuseClaim, SettleClaim
from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.simulator.aqua.build import static_pairs
from aquahost.simulator.aqua.coordinator import POLL_S, AquaCoordinator, Pair
from aquahost.simulator.aqua.policy import SLICE_ITERATIONS, AquaPolicy
from aquahost.simulator.run import simulate
from aquahost.units import MIB
from scheduled_host import ScheduledHost
from simulated import image, language, language_profile, machine, prompts, settings_of, trace


def coordinator(pairs: list[Pair], gpus: int = 3, total: int = 1000) -> AquaCoordinator:
    made = AquaCoordinator(pairs)
    rates = {(one, other): 1e9 for one in range(gpus) for other in range(gpus) if one != other}
    made.handle(events.LinksFound(rates, {}), 0.0)
    for gpu in range(gpus):
        made.handle(events.GpuRead(gpu, total, 0), 0.0)
        made.handle(events.WorkerJoined(gpu, f"m{gpu}", gpu), 0.0)
    return made


def told(made: AquaCoordinator, event: events.BrokerEvent, now_s: float = 0.0) -> list[Instruction]:
    out = [one for one in made.handle(event, now_s) if type(one).__name__ != "Announce"]
    made.ledger.check()
    return out


def test_a_pair_lends_all_it_offers_and_nobody_else_does() -> None:
    made = coordinator([Pair(1, 0, 600)])
    assert told(made, events.DemandMade(2, 100, 10)) == [], "it is in no pair"
    assert told(made, events.DemandMade(0, 50, 100)) == [GrantLease(0, 1, 1, 600, 1e9)]
    assert told(made, events.DemandMade(0, 900, 100)) == [], "there is one lease"


def test_a_lender_waits_until_it_is_looked_at_and_takes_all() -> None:
    made = coordinator([Pair(1, 0, 600)])
    told(made, events.DemandMade(0, 600, 100))
    told(made, events.LeaseMapped(1, 0))
    assert told(made, events.ClaimMade(1, 700)) == [RefuseClaim(1, 700, 400)]
    made.pending = lambda gpu: 10
    assert told(made, events.TimePassed(), POLL_S - 0.1) == []
    (recall,) = told(made, events.TimePassed(), POLL_S)
    assert isinstance(recall, RecallLease)
    assert recall.keep_bytes == 0
    told(made, events.LeaseReturned(1, 600, 0), POLL_S + 1)
    assert told(made, events.ClaimMade(1, 700), POLL_S + 1) == [SettleClaim(1, 700)]
    assert told(made, events.TimePassed(), 2 * POLL_S) == [], "many still wait"
    made.pending = lambda gpu: 2
    (again,) = told(made, events.TimePassed(), 3 * POLL_S)
    assert isinstance(again, GrantLease)
    assert again.nbytes == 300, "what it has free now"


def test_pairs_are_one_to_one() -> None:
    with pytest.raises(ValueError, match="one other"):
        AquaCoordinator([Pair(1, 0, 1), Pair(1, 2, 1)])


def test_who_lacks_most_gets_the_largest_offer_also_where_gpus_are_shared() -> None:
    busy = {"rate_per_s": 5.0, "input_tokens": 600, "output_tokens": 400}
    chat = language("chat", (0,), traffic=busy)
    lender, other = language("lender", (2,), profile=language_profile(weights_bytes=2048 * MIB)), language("more", (2,))
    hosted = [chat, image("beside", 0), image("paint", 1), lender, other]
    gpu_bytes = [8192 * MIB] * 4
    pairs = static_pairs(hosted, gpu_bytes, SchedulerSettings())
    assert [(pair.donor, pair.borrower_gpu) for pair in pairs] == [(1, 0)]
    assert 0 < pairs[0].nbytes < 8192 * MIB
    AquaCoordinator(pairs)
    done = simulate(
        settings_of(hosted),
        hosted,
        machine(4, 8192 * MIB),
        trace(prompts(*((0.1 * at, 600, 400) for at in range(30)))),
        policy="aqua",
        tier="peer",
    )
    assert done.total.failed == 0
    assert any(event.kind is EventKind.LEASE_GRANTED for event in done.events)


def test_five_iterations_a_slice_for_whoever_was_served_least() -> None:
    host = ScheduledHost(local=8, remote=40, policy=AquaPolicy(), copy_steps=1, max_batch=8)
    for name in "abcd":
        host.add(ScheduledPrompt(id=name, tokens=8, max_tokens=60))
    turns: list[list[str]] = []
    for _ in range(60):
        plan, _ = host.run_step()
        stands = {one.stand for one in host.live.values()}
        if Stand.LEAVING in stands or Stand.ARRIVING in stands:
            assert plan.is_empty, "nothing is computed beside copies"
        if plan.decodes:
            turns.append(sorted(one.id for one in plan.decodes))
    runs = [len(list(group)) for group in _groups(turns)]
    assert max(runs) <= 2 * SLICE_ITERATIONS
    served = [one.tokens - 8 for one in host.live.values()]
    assert max(served) - min(served) <= 2 * SLICE_ITERATIONS


def _groups(turns: list[list[str]]) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for turn in turns:
        if found and found[-1][-1] == turn:
            found[-1].append(turn)
        else:
            found.append([turn])
    return found


def test_on_a_node_a_lender_gets_its_memory_back_and_lends_again() -> None:
    chat = language("chat", (0,), borrow_bytes=200 * MIB)
    lender = language("lender", (1,), kv_bytes=150 * MIB, borrow_bytes=0)
    hosted = [chat, lender]
    settings = settings_of(hosted, park_after_s=None, linger_s=0.5)
    busy = prompts(*((0.2 * at, 300, 400) for at in range(60)))
    burst = prompts(*((14.0, 900, 100) for _ in range(60)), model="lender")
    done = simulate(
        settings, hosted, machine(), trace(busy, burst), policy="aqua", tier="peer", pairs=[Pair(1, 0, 120 * MIB)]
    )
    assert done.total.failed == 0
    kinds = [event.kind for event in done.events]
    assert EventKind.LEASE_RECALLED in kinds
    assert kinds.count(EventKind.LEASE_GRANTED) >= 2

"""The broker's shell: words in, messages, kills and events out; and what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquahost.clock import VirtualClock
from aquahost.config.settings import Kind, LeasingSettings, ModelSettings
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_views import gpu_views
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lending import Lending
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.events import EventKind
from aquahost.messages.figures import Lent
from aquahost.messages.memory import (
    Claim,
    ClaimRefused,
    ClaimSettled,
    Demand,
    LeaseFailed,
    LeaseGranted,
    LeaseLost,
    LeaseMapped,
    LeaseRecalled,
    LeaseReturned,
)
from aquahost.messages.snapshot import LeaseState, LinkView
from aquahost.messages.wire import EngineStats, Paged, ToWorker
from daemon_fixtures import FakeGpu

TOTAL = 1000
CHAT, PAINT = 1, 2


@dataclass(frozen=True)
class Reading(FakeGpu):
    """A GPU of `TOTAL` bytes, as the driver tells of it."""

    total_bytes: int = TOTAL
    free_bytes: int = TOTAL
    lost: str | None = None


def a_model(name: str, gpu: int, worker_id: int | None = None, stats: EngineStats | None = None) -> HostedModel:
    model = HostedModel(name, ModelSettings(kind=Kind.LLM, source="x/y"), SupervisionLimits(), Path("nowhere"))
    model.gpu, model.worker_id, model.stats = gpu, worker_id, stats
    return model


def a_link(source: int, target: int, **fields: object) -> LinkView:
    return LinkView(**{"source": source, "target": target, "usable": True, "reason": "", "bytes_per_s": 1e3, **fields})


@dataclass
class Shell:
    """Two GPUs: "chat" on GPU 0 borrows of GPU 1, where "paint" lives."""

    clock: VirtualClock = field(default_factory=lambda: VirtualClock(100.0))
    log: EventLog = field(default_factory=EventLog)
    sent: list[tuple[int, ToWorker]] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lending = Lending(
            LeasingSettings(),
            send=lambda worker, message: self.sent.append((worker, message)) is None,
            kill=lambda worker, _: self.killed.append(worker),
            log=self.log,
            clock=self.clock,
        )
        self.read()
        self.lending.found([a_link(0, 1), a_link(1, 0), a_link(0, -1), a_link(1, -1)])
        self.lending.joined(CHAT, "chat", 0)
        self.lending.joined(PAINT, "paint", 1)

    def read(self, *free_bytes: int, models: tuple[HostedModel, ...] = ()) -> None:
        """The driver says how much is free of each GPU."""
        readings = [Reading(gpu, free_bytes=free) for gpu, free in enumerate(free_bytes or (TOTAL, TOTAL))]
        self.lending.on_readings(readings, models)

    def borrow(self, nbytes: int) -> LeaseGranted:
        """ "chat" asks for memory and maps what it gets."""
        self.lending.on_report(CHAT, Demand(nbytes, 10))
        worker, grant = self.sent[-1]
        assert worker == CHAT
        assert isinstance(grant, LeaseGranted)
        self.lending.on_report(CHAT, LeaseMapped(grant.lease_id))
        return grant

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.log.since(0)]


@pytest.fixture
def shell() -> Shell:
    return Shell()


def test_a_lease_s_life_in_messages_views_and_events(shell: Shell) -> None:
    grant = shell.borrow(400)
    (lease,) = shell.lending.leases()
    assert (lease.donor, lease.borrower, lease.borrower_gpu, lease.nbytes) == (1, "chat", 0, 400)
    assert (lease.state, lease.deadline_in_s) == (LeaseState.MAPPED, None)
    assert [(shell.lending.lent_bytes(gpu), shell.lending.borrowed_bytes(gpu)) for gpu in (0, 1)] == [
        (0, 400),
        (400, 0),
    ]

    shell.lending.on_report(PAINT, Claim(700))
    worker, recall = shell.sent[-1]
    assert (worker, recall) == (CHAT, LeaseRecalled(grant.lease_id, 300, pytest.approx(100.0 + 100 / 1e3 + 1.0)))
    shell.clock.advance(0.03)
    shell.lending.on_report(CHAT, LeaseReturned(grant.lease_id, 100))
    assert shell.sent[-1] == (PAINT, ClaimSettled(700))
    assert shell.kinds() == [
        EventKind.LEASE_GRANTED,
        EventKind.LEASE_MAPPED,
        EventKind.LEASE_RECALLED,
        EventKind.LEASE_RETURNED,
    ]
    shell.lending.check()


def test_refusals_and_losses_are_told(shell: Shell) -> None:
    grant = shell.borrow(400)
    shell.lending.on_report(PAINT, Claim(1001))
    assert shell.sent[-1] == (PAINT, ClaimRefused(1001, 1000))
    shell.lending.on_readings([Reading(1, lost="it fell off the bus")], ())
    assert shell.sent[-1] == (CHAT, LeaseLost(grant.lease_id, "it fell off the bus"))
    assert {EventKind.GPU_LOST, EventKind.LEASE_LOST} <= set(shell.kinds())


def test_a_lease_that_failed_is_gone(shell: Shell) -> None:
    grant = shell.borrow(400)
    shell.lending.on_report(CHAT, LeaseFailed(grant.lease_id, "no"))
    assert shell.lending.leases() == []


def test_who_ignores_a_recall_is_killed_once(shell: Shell) -> None:
    shell.borrow(400)
    shell.lending.on_report(PAINT, Claim(1000))
    for _ in range(60):
        shell.clock.advance(0.1)
        shell.lending.tick()
    assert shell.killed == [CHAT]
    assert EventKind.LEASE_OVERDUE in shell.kinds()
    shell.lending.left(CHAT, None)
    assert shell.sent[-1] == (PAINT, ClaimSettled(1000))


def test_links_that_are_refused_are_announced_with_the_reason_and_lend_nothing(shell: Shell) -> None:
    refused = [a_link(one, other, usable=False, reason="bytes arrived wrong") for one, other in ((0, 1), (1, 0))]
    shell.lending.found([*refused, a_link(0, -1, usable=False)])
    shell.lending.on_report(CHAT, Demand(400, 10))
    assert shell.sent == []
    messages = [event.message for event in shell.log.since(0)]
    assert messages
    assert all("bytes arrived wrong" in message for message in messages)


def test_other_processes_memory_is_what_nobody_of_ours_has_in_three_readings(shell: Shell) -> None:
    paint = a_model("paint", 1, PAINT, EngineStats(weights_bytes=200, kv_bytes=50, work_bytes=50))
    shell.borrow(100)
    shell.read(TOTAL, 500, models=(paint,))  # 500 used, 300 of it ours and 100 lent
    assert shell.lending.other_bytes(1) == 0  # the reading before it saw nobody
    shell.read(TOTAL, 500, models=(paint,))
    shell.read(TOTAL, 500, models=(paint,))
    assert shell.lending.other_bytes(1) == 100
    shell.read(TOTAL, 900, models=(paint,))
    assert shell.lending.other_bytes(1) == 0


def test_claims_that_are_not_used_yet_hide_nobody(shell: Shell) -> None:
    resting = a_model("paint", 1, PAINT, EngineStats(weights_bytes=200))
    for _ in range(4):
        shell.read(TOTAL, 750, models=(resting,))  # 250 used: 50 of them by a context
    assert shell.lending.other_bytes(1) == 50
    computing = a_model("paint", 1, PAINT, EngineStats(weights_bytes=200, work_bytes=400))
    for _ in range(4):
        shell.read(TOTAL, 700, models=(computing,))  # of its 400 it has taken 50
    assert shell.lending.other_bytes(1) == 50
    for _ in range(4):
        shell.read(TOTAL, 300, models=(computing,))
    assert shell.lending.other_bytes(1) == 100


def test_a_model_that_loads_holds_what_it_claimed(shell: Shell) -> None:
    paint = a_model("paint", 1, PAINT)
    shell.lending.on_report(PAINT, Claim(300))
    for _ in range(3):
        shell.read(TOTAL, 650, models=(paint,))
    assert shell.lending.other_bytes(1) == 50


def test_figures_outlive_workers(shell: Shell) -> None:
    chat = a_model("chat", 0, CHAT, EngineStats(paged=(Paged("local", "peer", 7),)))
    grant = shell.borrow(400)
    shell.lending.on_report(PAINT, Claim(700))
    shell.clock.advance(0.03)
    shell.lending.on_report(CHAT, LeaseReturned(grant.lease_id, 100))
    figures = shell.lending.figures([chat])
    assert figures.lent == [Lent(1, "chat", 300)]
    assert figures.paged == [Paged("local", "peer", 7)]
    assert (figures.recall_count, figures.recall_sum_s) == (1, pytest.approx(0.03))
    assert {bucket.count for bucket in figures.recall_buckets if bucket.upper_s < 0.03} == {0}
    assert {bucket.count for bucket in figures.recall_buckets if bucket.upper_s > 0.03} == {1}
    shell.lending.left(CHAT, chat.stats)
    chat.stats = EngineStats(paged=(Paged("local", "peer", 5),))
    assert shell.lending.figures([chat]).paged == [Paged("local", "peer", 12)]
    assert shell.lending.figures([]).lent == []


amounts = st.integers(0, 700)


@given(free=st.integers(0, TOTAL), parts=st.tuples(amounts, amounts, amounts), lent=st.integers(0, TOTAL))
def test_a_gpu_s_parts_add_up_whatever_the_driver_and_the_workers_say(
    free: int, parts: tuple[int, int, int], lent: int
) -> None:
    shell = Shell()
    shell.lending.on_report(CHAT, Demand(lent, 1))
    weights, kv, work = parts
    paint = a_model("paint", 1, PAINT, EngineStats(weights_bytes=weights, kv_bytes=kv, work_bytes=work))
    shell.read(TOTAL, free, models=(paint,))
    views = gpu_views([Reading(0), Reading(1, free_bytes=free)], [paint], shell.lending, 0.0)
    for view in views:
        amount = (
            view.weights_bytes,
            view.kv_bytes,
            view.work_bytes,
            view.lent_bytes,
            view.other_bytes,
            view.free_bytes,
        )
        assert min(amount) >= 0
        assert sum(amount) == view.total_bytes
    assert views[0].borrowed_bytes == lent
    if weights + kv + work + lent <= TOTAL:
        assert (views[1].weights_bytes, views[1].kv_bytes, views[1].lent_bytes) == (weights, kv, lent)


def test_a_ledger_that_is_wrong_is_a_fault_of_the_daemon(shell: Shell) -> None:
    shell.read(TOTAL, 1000)
    assert not shell.lending.faults
    shell.lending._broker.ledger.gpu(1).owned_bytes += 1
    shell.read(TOTAL, 1000)
    shell.read(TOTAL, 1000)
    assert len(shell.lending.faults) == 1
    shell.lending._broker.ledger.gpu(1).owned_bytes -= 1

"""Thousands of random events, lies and late messages among them: the ledger is right after each, no memory is used
twice, and whoever waits for memory gets an answer."""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from aquahost.clock import VirtualClock
from aquahost.config.settings import LeasingSettings
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.leasing.broker import Broker
from aquahost.leasing.events import (
    BrokerEvent,
    ClaimMade,
    DemandMade,
    GpuLost,
    GpuRead,
    LeaseFailed,
    LeaseMapped,
    LeaseReturned,
    LinksFound,
    TimePassed,
    WorkerJoined,
    WorkerLeft,
)
from aquahost.leasing.instructions import (
    DropLease,
    GrantLease,
    Instruction,
    KillWorker,
    RecallLease,
    RefuseClaim,
    SettleClaim,
)
from aquahost.leasing.limits import LeasingLimits
from aquahost.messages.memory import Claim, ClaimRefused, ClaimSettled

GPUS = 4
TOTAL = 1000
LEAST_EVENTS = 10_000
EXAMPLES, STEPS = 200, 120
TICK_S = 0.2

gpus = st.integers(0, GPUS - 1)
sizes = st.one_of(st.integers(-5, TOTAL + 50), st.sampled_from([0, 100, 400, 990]))
picks = st.integers(0, 10_000)


class HonestWorker:
    """Holds what its desk says it may, and does what it is told when it gets round to it."""

    def __init__(self, worker: int, gpu: int) -> None:
        self.id, self.gpu = worker, gpu
        self.desk = MemoryDesk(LeasingSettings(), VirtualClock(), exchange=lambda _: [])
        self.leases: dict[int, list[int]] = {}
        """[donor, bytes] of what it has allocated elsewhere."""
        self.inbox: deque[Instruction] = deque()

    @property
    def held_bytes(self) -> int:
        return sum(self.desk.settled(part) for part in Part)

    def claim(self, part: Part, nbytes: int) -> list[BrokerEvent]:
        self.desk.claim(part, nbytes)
        return self._reports()

    def read(self) -> list[BrokerEvent]:
        """Take the next instruction; returns the answer."""
        match self.inbox.popleft():
            case SettleClaim(_, nbytes):
                self.desk.on_memory(ClaimSettled(nbytes))
            case RefuseClaim(_, nbytes, available_bytes):
                self.desk.on_memory(ClaimRefused(nbytes, available_bytes))
            case GrantLease(_, lease_id, donor, nbytes, _):
                if lease_id % 7 == 0:
                    return [LeaseFailed(lease_id, "out of memory", self.id)]
                self.leases[lease_id] = [donor, nbytes]
                return [LeaseMapped(lease_id, self.id)]
            case RecallLease(_, lease_id, keep_bytes) if lease_id in self.leases:
                return self._shrink(lease_id, keep_bytes)
            case DropLease(_, lease_id):
                self.leases.pop(lease_id, None)
        return self._reports()

    def _reports(self) -> list[BrokerEvent]:
        return [ClaimMade(self.id, report.nbytes) for report in self.desk.take_reports() if isinstance(report, Claim)]

    def _shrink(self, lease_id: int, keep_bytes: int) -> list[BrokerEvent]:
        lease = self.leases[lease_id]
        back = max(0, lease[1] - keep_bytes)
        lease[1] -= back
        if not lease[1]:
            del self.leases[lease_id]
        parts = [back // 3, back - back // 3]
        return [LeaseReturned(lease_id, part, self.id) for part in parts if part]


class BrokerMachine(RuleBasedStateMachine):
    """Honest workers have even ids and liars odd ones."""

    events = 0
    """Of all examples."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.broker = Broker(LeasingLimits(cooldown_s=1.0, retry_s=1.0))
        self.ledger = self.broker.ledger
        self.honest: dict[int, HonestWorker] = {}
        self.liars: dict[int, int] = {}
        self.killed: set[int] = set()
        self.answers: deque[BrokerEvent] = deque()
        self.last_worker = 0

    def tell(self, event: BrokerEvent) -> None:
        type(self).events += 1
        for instruction in self.broker.handle(event, self.now_s):
            if isinstance(instruction, KillWorker):
                assert instruction.worker not in self.killed, "killed twice"
                self.killed.add(instruction.worker)
            elif (worker := self.honest.get(getattr(instruction, "worker", -1))) is not None:
                worker.inbox.append(instruction)
        self.ledger.check()

    # -- the node ----------------------------------------------------------------------------------------------

    @initialize(slow=gpus, refused=st.sets(st.tuples(gpus, gpus), max_size=3))
    def begin(self, slow: int, refused: set[tuple[int, int]]) -> None:
        self.find_links(slow, refused)
        for gpu in range(GPUS):
            self.tell(GpuRead(gpu, TOTAL, 0))
            self.join(gpu)

    @rule(slow=gpus, refused=st.sets(st.tuples(gpus, gpus), max_size=3), chance=st.integers(0, 5))
    def find_links(self, slow: int, refused: set[tuple[int, int]], chance: int = 0) -> None:
        if chance:
            return
        pairs = {(one, other) for one in range(GPUS) for other in range(GPUS)} - refused
        rates = {pair: 50.0 if slow in pair else 100.0 for pair in pairs}
        self.tell(LinksFound(rates, {0: 100.0, 1: 0.0}))

    @rule(gpu=gpus, other=st.sampled_from([0, 0, 0, 50, 300, 1200]))
    def read(self, gpu: int, other: int) -> None:
        self.tell(GpuRead(gpu, TOTAL, other))

    @rule(gpu=gpus, chance=st.integers(0, 20))
    def lose(self, gpu: int, chance: int) -> None:
        if chance == 0:
            self.tell(GpuLost(gpu, "it fell off the bus"))

    @rule(ticks=st.integers(1, 8))
    def wait(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now_s += TICK_S
            self.tell(TimePassed())
        for worker in sorted(self.killed):
            self.leave(worker)

    # -- honest workers ----------------------------------------------------------------------------------------

    @rule(gpu=gpus)
    def join(self, gpu: int) -> None:
        if len(self.honest) >= 2 * GPUS:
            return
        self.last_worker += 2
        self.honest[self.last_worker] = HonestWorker(self.last_worker, gpu)
        self.tell(WorkerJoined(self.last_worker, "honest", gpu))

    @rule(
        pick=picks,
        part=st.sampled_from([Part.WEIGHTS, Part.WORK]),
        nbytes=st.one_of(st.integers(0, TOTAL), st.sampled_from([0, 100, 400])),
    )
    def claim(self, pick: int, part: Part, nbytes: int) -> None:
        if self.honest:
            self.answers.extend(self.some(pick).claim(part, nbytes))

    @rule(pick=picks, nbytes=st.integers(0, 2 * TOTAL), granule=st.sampled_from([1, 7, 64]))
    def demand(self, pick: int, nbytes: int, granule: int) -> None:
        if self.honest:
            self.tell(DemandMade(self.some(pick).id, nbytes, granule))

    @rule(pick=picks, count=st.integers(1, 6))
    def work(self, pick: int, count: int) -> None:
        """A worker reads some of its messages, and its answers arrive at some time."""
        if self.honest:
            worker = self.some(pick)
            for _ in range(min(count, len(worker.inbox))):
                self.answers.extend(worker.read())

    @rule(count=st.integers(1, 10))
    def deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.answers))):
            self.tell(self.answers.popleft())

    @rule(pick=picks, chance=st.integers(0, 2))
    def die(self, pick: int, chance: int) -> None:
        workers = sorted({*self.honest, *self.liars})
        if chance == 0 and len(workers) > GPUS:
            self.leave(workers[pick % len(workers)])

    def leave(self, worker: int) -> None:
        self.honest.pop(worker, None)
        self.liars.pop(worker, None)
        self.killed.discard(worker)
        self.tell(WorkerLeft(worker))

    def some(self, pick: int) -> HonestWorker:
        return list(self.honest.values())[pick % len(self.honest)]

    # -- liars -------------------------------------------------------------------------------------------------

    @rule(gpu=gpus)
    def join_to_lie(self, gpu: int) -> None:
        if len(self.liars) < 2:
            worker = self.last_worker + 1
            self.last_worker += 2
            self.liars[worker] = gpu
            self.tell(WorkerJoined(worker, "liar", gpu))

    @rule(pick=picks, lease=picks, nbytes=sizes, what=st.integers(0, 7), granule=st.sampled_from([-1, 0, 3, 50]))
    def lie(self, pick: int, lease: int, nbytes: int, what: int, granule: int) -> None:
        worker = [*self.liars, *self.liars, 999_999][pick % (2 * len(self.liars) + 1)]
        own = self.ledger.workers[worker].leases if worker in self.liars else {}
        lease_ids = [*(own if lease % 2 else self.ledger.leases), 777_777]
        lease_id = lease_ids[lease % len(lease_ids)]
        lies: list[BrokerEvent] = [
            ClaimMade(worker, nbytes),
            DemandMade(worker, nbytes, granule),
            LeaseMapped(lease_id, worker),
            LeaseReturned(lease_id, nbytes, worker),
            LeaseFailed(lease_id, "a lie", worker),
            WorkerJoined(worker if worker in self.liars else next(iter(self.honest), 2), "again", pick % GPUS),
            WorkerLeft(888_888),
            DemandMade(worker, abs(nbytes), abs(granule) + 1),
        ]
        self.tell(lies[what])

    # -- what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def no_memory_is_used_twice(self) -> None:
        """However late messages are, honest workers together hold no more of a GPU than there is."""
        held = dict.fromkeys(range(GPUS), 0)
        for worker in self.honest.values():
            held[worker.gpu] += worker.held_bytes
            for donor, nbytes in worker.leases.values():
                held[donor] += nbytes
        assert max(held.values()) <= TOTAL, held

    @invariant()
    def what_is_missing_is_recalled(self) -> None:
        for gpu in self.ledger.gpus.values():
            if gpu.free_bytes < 0:
                assert gpu.recalled_bytes >= min(-gpu.free_bytes, gpu.lent_bytes), f"GPU {gpu.index} is overdrawn"

    def teardown(self) -> None:
        """Once everyone does what it is told, or is killed, nobody waits for memory any more."""
        for _ in range(1000):
            while self.answers:
                self.tell(self.answers.popleft())
            for worker in self.honest.values():
                while worker.inbox:
                    self.answers.extend(worker.read())
            self.wait(1)
            waits = any(not worker.desk.is_settled for worker in self.honest.values())
            waits |= any(gpu.pending for gpu in self.ledger.gpus.values())
            if not (waits or self.ledger.recalling or self.answers):
                self._the_ledger_knows_what_is_held()
                return
        raise AssertionError("someone waits for memory for ever")

    def _the_ledger_knows_what_is_held(self) -> None:
        for worker in self.honest.values():
            claim = self.ledger.gpus[worker.gpu].claims[worker.id]
            assert worker.held_bytes == claim, f"{worker.id} holds {worker.held_bytes} and the ledger says {claim}"


def test_no_event_breaks_the_ledger() -> None:
    BrokerMachine.events = 0
    run_state_machine_as_test(
        BrokerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    assert BrokerMachine.events >= LEAST_EVENTS

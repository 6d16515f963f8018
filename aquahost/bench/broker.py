"""How many events a second the broker handles."""

from __future__ import annotations

import random
import statistics
import time
from collections import deque

from aquahost.bench.figures import Figure, at_least
from aquahost.leasing.broker import Broker
from aquahost.leasing.events import (
    BrokerEvent,
    ClaimMade,
    DemandMade,
    GpuRead,
    LeaseMapped,
    LeaseReturned,
    LinksFound,
    TimePassed,
    WorkerJoined,
)
from aquahost.leasing.instructions import GrantLease, Instruction, RecallLease
from aquahost.leasing.limits import LeasingLimits
from aquahost.units import GIB, MIB

_GPUS = 8
_LEASES = 64
_GRANULE = 64 * MIB
_STEP = 14 * GIB
"""By which demands rise and fall."""
_TOTAL = 80 * GIB
_WEIGHTS = 20 * GIB
_EVENTS = 40_000
_RUNS = 5
_SHORT_COOLDOWN_S = 0.05
"""So that what a donor took back is soon lent again, and the run stays at its number of leases."""


def measure_broker() -> list[Figure]:
    """Events a second on one core: four language models borrow from four image models that come and go."""
    script, leases = _write_script()
    took_s = statistics.median(_replay(script) for _ in range(_RUNS))
    note = f"{len(script)} events, {leases:.0f} leases on average, {_GPUS} GPUs; median of {_RUNS} runs"
    return [at_least("broker events", len(script) / took_s, "1/s", 50_000, note=note)]


def _replay(script: list[tuple[BrokerEvent, float]]) -> float:
    broker = Broker(LeasingLimits(cooldown_s=_SHORT_COOLDOWN_S))
    begun_s = time.perf_counter()
    for event, now_s in script:
        broker.handle(event, now_s)
    return time.perf_counter() - begun_s


def _write_script() -> tuple[list[tuple[BrokerEvent, float]], float]:
    """Events with their times, and the average number of leases. The broker is deterministic, so that workers which
    answered it once have the right answers ready when the same events are played to it again."""
    node = _Node()
    while len(node.script) < _EVENTS:
        node.live_on()
    return node.script, node.lease_count_sum / len(node.script)


class _Node:
    """Workers that do what the broker says, and what befalls them; written down as it goes."""

    def __init__(self) -> None:
        self.script: list[tuple[BrokerEvent, float]] = []
        self.lease_count_sum = 0
        self._random = random.Random(0)
        self._broker = Broker(LeasingLimits(cooldown_s=_SHORT_COOLDOWN_S))
        self._answers: deque[BrokerEvent] = deque()
        self._now_s = 0.0
        self._held: dict[int, int] = {}
        """Bytes of each lease."""
        pairs = [(a, b) for a in range(_GPUS) for b in range(_GPUS) if a != b]
        self._tell(LinksFound(dict.fromkeys(pairs, 400e9), dict.fromkeys(range(_GPUS), 50e9)))
        for gpu in range(_GPUS):
            self._tell(GpuRead(gpu, _TOTAL, GIB))
            self._tell(WorkerJoined(gpu, f"model {gpu}", gpu))
            # Language models take their whole GPU, image models their weights.
            self._tell(ClaimMade(gpu, _TOTAL - GIB if gpu < _GPUS // 2 else _WEIGHTS))
        while len(self._broker.ledger.leases) < _LEASES:
            self._shift_demand(self._random.randrange(_GPUS // 2))

    def live_on(self) -> None:
        """One thing happens, and is answered."""
        chance = self._random.random()
        donor = self._random.randrange(_GPUS // 2, _GPUS)
        if chance < 0.3:  # an image prompt comes, or has ended
            self._tell(ClaimMade(donor, _WEIGHTS + self._random.choice((0, 4, 16)) * GIB))
        elif chance < 0.6:
            self._shift_demand(self._random.randrange(_GPUS // 2))
        elif chance < 0.8:
            self._tell(GpuRead(donor, _TOTAL, GIB + self._random.randrange(3) * MIB))
        else:
            self._tell(TimePassed())
        self._answer()

    def _shift_demand(self, gpu: int) -> None:
        """A language model wants more while there are few leases; else it is done with its oldest one."""
        worker = self._broker.ledger.workers[gpu]
        if len(self._broker.ledger.leases) < _LEASES:
            self._tell(DemandMade(gpu, worker.kept_bytes + _STEP, _GRANULE))
        else:
            done_with = next((lease for lease in worker.leases.values() if lease.recalled_bytes == 0), None)
            if done_with is not None:
                self._tell(DemandMade(gpu, worker.kept_bytes - done_with.nbytes, _GRANULE))
                self._answers.append(LeaseReturned(done_with.id, done_with.nbytes, gpu))
        self._answer()

    def _answer(self) -> None:
        while self._answers:
            self._tell(self._answers.popleft())

    def _tell(self, event: BrokerEvent) -> None:
        self._now_s += 0.001
        self.script.append((event, self._now_s))
        self.lease_count_sum += len(self._broker.ledger.leases)
        for instruction in self._broker.handle(event, self._now_s):
            self._obey(instruction)

    def _obey(self, instruction: Instruction) -> None:
        match instruction:
            case GrantLease(worker, lease_id, _, nbytes, _):
                self._held[lease_id] = nbytes
                self._answers.append(LeaseMapped(lease_id, worker))
            case RecallLease(worker, lease_id, keep_bytes):
                self._answers.append(LeaseReturned(lease_id, self._held[lease_id] - keep_bytes, worker))
                self._held[lease_id] = keep_bytes

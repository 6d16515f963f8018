"""A broker, and a node of GPUs and workers around it that do what a test says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from aquahost.events import EventKind
from aquahost.leasing.accounts import GpuAccount, WorkerAccount
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
    WorkerLeft,
)
from aquahost.leasing.instructions import Announce, GrantLease, Instruction, RecallLease
from aquahost.leasing.limits import LeasingLimits

TOTAL = 1000
PEER_RATE = 100.0
HOST_RATE = 10.0
TICK_S = 0.1

Kind = TypeVar("Kind", bound=Instruction)


def only(kind: type[Kind], instructions: Iterable[Instruction]) -> list[Kind]:
    """The instructions of one kind."""
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def announced(instructions: Iterable[Instruction]) -> list[EventKind]:
    """The kinds of event among the instructions."""
    return [instruction.kind for instruction in only(Announce, instructions)]


def all_pairs(gpus: int, rate: float = PEER_RATE) -> dict[tuple[int, int], float]:
    """Every GPU reaches every other one."""
    return {(one, other): rate for one in range(gpus) for other in range(gpus) if one != other}


class LeasingNode:
    """GPUs of `TOTAL` bytes, all linked; worker N lives on GPU N and claims what `claims` says."""

    def __init__(self, *claims: int, cooldown_s: float = 5.0, headroom_bytes: int = 0) -> None:
        self.now_s = 100.0
        self.limits = LeasingLimits(cooldown_s=cooldown_s, headroom_bytes=headroom_bytes)
        self.broker = Broker(self.limits)
        gpus = range(len(claims))
        self.link(all_pairs(len(claims)))
        for gpu in gpus:
            self.tell(GpuRead(gpu, TOTAL, 0))
        for gpu, claim in enumerate(claims):
            self.tell(WorkerJoined(gpu, f"model{gpu}", gpu))
            self.claim(gpu, claim)

    def tell(self, event: BrokerEvent) -> list[Instruction]:
        """What the broker answers; the ledger must be right afterwards."""
        instructions = self.broker.handle(event, self.now_s)
        self.broker.ledger.check()
        return instructions

    def link(self, rates: dict[tuple[int, int], float]) -> list[Instruction]:
        """Find these links, and the host's."""
        gpus = {gpu for pair in rates for gpu in pair}
        return self.tell(LinksFound(rates, dict.fromkeys(gpus, HOST_RATE)))

    def claim(self, worker: int, nbytes: int) -> list[Instruction]:
        return self.tell(ClaimMade(worker, nbytes))

    def demand(self, worker: int, nbytes: int, granule_bytes: int = 10) -> list[Instruction]:
        return self.tell(DemandMade(worker, nbytes, granule_bytes))

    def borrow(self, worker: int, nbytes: int, granule_bytes: int = 10) -> list[GrantLease]:
        """Demand, and map all that is granted."""
        grants = only(GrantLease, self.demand(worker, nbytes, granule_bytes))
        self.map(grants)
        return grants

    def map(self, grants: Iterable[GrantLease]) -> None:
        for grant in grants:
            self.tell(LeaseMapped(grant.lease_id, grant.worker))

    def give_back(self, recall: RecallLease) -> list[Instruction]:
        """All that a recall asks for."""
        lease = self.broker.ledger.leases[recall.lease_id]
        return self.tell(LeaseReturned(lease.id, lease.nbytes - recall.keep_bytes, recall.worker))

    def leave(self, worker: int) -> list[Instruction]:
        return self.tell(WorkerLeft(worker))

    def wait(self, seconds: float) -> list[Instruction]:
        """Let time pass, tick by tick."""
        instructions: list[Instruction] = []
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            instructions += self.tell(TimePassed())
        return instructions

    def gpu(self, index: int) -> GpuAccount:
        return self.broker.ledger.gpus[index]

    def worker(self, worker: int) -> WorkerAccount:
        return self.broker.ledger.workers[worker]

    def lent(self) -> dict[tuple[int, int], int]:
        """Bytes of all leases by (borrower, donor)."""
        lent: dict[tuple[int, int], int] = {}
        for lease in self.broker.ledger.leases.values():
            lent[lease.borrower, lease.donor] = lent.get((lease.borrower, lease.donor), 0) + lease.nbytes
        return lent

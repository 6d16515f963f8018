"""The broker: who may hold how much memory of which GPU. Events in, instructions out.

Every worker lives on one GPU and claims memory of it; its neighbours may borrow what nobody claims. The owner goes
first: a claim that grows is settled at once if there is room, else exactly what is missing is recalled, and nothing
else is settled or lent there until it is back. A borrower's own process allocates what it is lent, so whatever a
process held is free once it is gone.

Pure: no I/O, no lock, no clock of its own. Times are `Clock.now_s()` of the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.events import EventKind
from aquahost.leasing.accounts import GpuAccount
from aquahost.leasing.claims import review_claims
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
from aquahost.leasing.instructions import Announce, DropLease, Instruction, RefuseClaim, SettleClaim
from aquahost.leasing.lease import Lease
from aquahost.leasing.ledger import Ledger
from aquahost.leasing.lender import Lender
from aquahost.leasing.limits import LeasingLimits
from aquahost.leasing.links import Links
from aquahost.leasing.recaller import Recaller
from aquahost.messages.snapshot import LeaseState
from aquahost.units import format_bytes


@dataclass(slots=True)
class _Turn:
    """One event's handling."""

    now_s: float
    out: list[Instruction] = field(default_factory=list)
    changed: list[GpuAccount] = field(default_factory=list)
    """GPUs with more or less free memory, or other claims, than before."""
    everywhere: bool = False
    """Whether any GPU might lend now, not just the changed ones."""


class Broker:
    """Owns the ledger. `handle` takes in what happened and returns what is to be done, in this order.

    Events about workers and leases that are not known, or are another worker's, change nothing: messages cross each
    other, and a worker may say anything.
    """

    def __init__(self, limits: LeasingLimits) -> None:
        self.ledger = Ledger()
        self._limits = limits
        self._links = Links({}, {}, limits.unmeasured_bytes_per_s)
        self._lender = Lender(self.ledger, limits)
        self._recaller = Recaller(self.ledger, limits)

    @property
    def is_waiting(self) -> bool:
        """Whether time alone can change anything: deadlines to watch, or demands that a cooldown's end may serve."""
        ledger = self.ledger
        return bool(ledger.recalling) or any(worker.unmet_bytes for worker in ledger.workers.values())

    def handle(self, event: BrokerEvent, now_s: float) -> list[Instruction]:
        """Take in what happened; returns what is to be done."""
        turn = _Turn(now_s)
        match event:
            case ClaimMade():
                self._on_claim(event, turn)
            case DemandMade():
                self._on_demand(event, turn)
            case LeaseMapped():
                self._on_mapped(event, turn)
            case LeaseReturned():
                self._on_returned(event, turn)
            case LeaseFailed():
                self._on_failed(event, turn)
            case GpuRead():
                self._on_reading(event, turn)
            case TimePassed():
                self._recaller.watch(now_s, turn.out)
                turn.everywhere = True
            case WorkerJoined(worker, name, gpu):
                if worker not in self.ledger.workers:
                    self.ledger.join(worker, name, gpu)
            case WorkerLeft(worker):
                self._on_left(worker, turn)
            case GpuLost():
                self._on_lost(event, turn)
            case LinksFound(rates, host_rates):
                self._links = Links(rates, host_rates, self._limits.unmeasured_bytes_per_s)
                turn.everywhere = True
        if turn.changed or turn.everywhere:
            self._settle_and_lend(turn)
        return turn.out

    # -- workers -----------------------------------------------------------------------------------------------

    def _on_claim(self, event: ClaimMade, turn: _Turn) -> None:
        worker = self.ledger.workers.get(event.worker)
        if worker is None or event.nbytes < 0:
            return
        home = self.ledger.home(worker)
        settled = home.claims[worker.id]
        overtaken = home.pending.get(worker.id)
        if overtaken is not None:  # so that the worker can tell which of its claims an answer is for
            turn.out.append(RefuseClaim(worker.id, overtaken, settled + home.reachable_bytes))
        if event.nbytes <= settled:
            self.ledger.settle(worker, event.nbytes)
            turn.out.append(SettleClaim(worker.id, event.nbytes))
        else:
            home.pending[worker.id] = event.nbytes  # one that waits already keeps its place
        turn.changed.append(home)

    def _on_demand(self, event: DemandMade, turn: _Turn) -> None:
        worker = self.ledger.workers.get(event.worker)
        if worker is not None and event.nbytes >= 0 and event.granule_bytes > 0:
            worker.demand_bytes, worker.granule_bytes = event.nbytes, event.granule_bytes
            turn.everywhere = worker.unmet_bytes > 0

    def _on_left(self, worker_id: int, turn: _Turn) -> None:
        worker = self.ledger.workers.get(worker_id)
        if worker is None:
            return
        for lease in list(worker.leases.values()):
            self._take_back(lease, lease.nbytes, turn, "is gone and leaves")
        self.ledger.leave(worker)
        turn.changed.append(self.ledger.home(worker))

    # -- leases ------------------------------------------------------------------------------------------------

    def _lease(self, lease_id: int, worker_id: int) -> Lease | None:
        lease = self.ledger.leases.get(lease_id)
        return lease if lease is not None and lease.borrower == worker_id else None

    def _on_mapped(self, event: LeaseMapped, turn: _Turn) -> None:
        lease = self._lease(event.lease_id, event.worker)
        if lease is not None and not lease.is_mapped:
            self.ledger.map(lease)
            self._announce(EventKind.LEASE_MAPPED, lease, "has mapped", lease.nbytes, turn)

    def _on_returned(self, event: LeaseReturned, turn: _Turn) -> None:
        lease = self._lease(event.lease_id, event.worker)
        if lease is not None and event.nbytes > 0:
            self._take_back(lease, min(event.nbytes, lease.nbytes), turn)

    def _on_failed(self, event: LeaseFailed, turn: _Turn) -> None:
        lease = self._lease(event.lease_id, event.worker)
        if lease is None:
            return
        self.ledger.workers[lease.borrower].avoids_until_s[lease.donor] = turn.now_s + self._limits.retry_s
        self._announce(EventKind.LEASE_LOST, lease, "cannot use", lease.nbytes, turn, f": {event.reason}")
        self.ledger.lose(lease)
        turn.changed.append(self.ledger.gpus[lease.donor])
        turn.everywhere = True

    def _take_back(self, lease: Lease, nbytes: int, turn: _Turn, does: str = "has given back") -> None:
        was_recalled = lease.state is LeaseState.RECALLING
        donor = self.ledger.gpus[lease.donor]
        self.ledger.take_back(lease, nbytes)
        lease.returned_bytes += nbytes
        turn.changed.append(donor)
        is_ended = lease.nbytes == 0
        if was_recalled:
            donor.quiet_until_s = max(donor.quiet_until_s, turn.now_s + self._limits.cooldown_s)
        if is_ended or lease.recalled_bytes == 0:  # a recall that comes back in parts is one event
            after = "" if is_ended else f", and keeps {format_bytes(lease.nbytes)}"
            self._announce(EventKind.LEASE_RETURNED, lease, does, lease.returned_bytes, turn, after)
            lease.returned_bytes = 0

    def _announce(self, kind: EventKind, lease: Lease, does: str, nbytes: int, turn: _Turn, after: str = "") -> None:
        name = self.ledger.workers[lease.borrower].name
        message = f"{name} {does} {format_bytes(nbytes)} of GPU {lease.donor} (lease {lease.id}){after}"
        turn.out.append(Announce(kind, message, name))

    # -- GPUs --------------------------------------------------------------------------------------------------

    def _on_reading(self, event: GpuRead, turn: _Turn) -> None:
        gpu = self.ledger.gpu(event.gpu)
        other_bytes = max(0, event.other_bytes)
        if gpu.total_bytes == 0:
            gpu.total_bytes = event.total_bytes
        elif other_bytes == gpu.other_bytes:
            return
        gpu.other_bytes = other_bytes
        turn.changed.append(gpu)

    def _on_lost(self, event: GpuLost, turn: _Turn) -> None:
        gpu = self.ledger.gpu(event.gpu)
        if gpu.lost is not None:
            return
        gpu.lost = event.reason
        turn.out.append(Announce(EventKind.GPU_LOST, f"GPU {event.gpu} is lost: {event.reason}"))
        for lease in list(gpu.leases.values()):
            turn.out.append(DropLease(lease.borrower, lease.id, event.reason))
            self._announce(EventKind.LEASE_LOST, lease, "has lost", lease.nbytes, turn, f": {event.reason}")
            self.ledger.lose(lease)
        turn.changed.append(gpu)
        turn.everywhere = True

    # -- decisions ---------------------------------------------------------------------------------------------

    def _settle_and_lend(self, turn: _Turn) -> None:
        """Owners first; then borrowers, so that who loses a lease has another one before it must give up the first."""
        recalled: list[Lease] = []
        for gpu in turn.changed:
            if gpu.pending or gpu.free_bytes < 0:
                recalled += self._serve_claims(gpu, turn)
        everywhere = turn.everywhere or bool(recalled)
        donors = self.ledger.gpus.keys() if everywhere else [gpu.index for gpu in turn.changed]
        grants = self._lender.lend(self._links, donors, turn.now_s, turn.out)
        if recalled:
            self._recaller.ask(recalled, grants, self._links, turn.now_s, turn.out)

    def _serve_claims(self, gpu: GpuAccount, turn: _Turn) -> list[Lease]:
        if gpu.total_bytes == 0 and gpu.lost is None:
            return []  # until it has been read
        review = review_claims(gpu)
        for worker_id, nbytes, available_bytes in review.refuse:
            del gpu.pending[worker_id]
            turn.out.append(RefuseClaim(worker_id, nbytes, available_bytes))
        for worker_id, nbytes in review.settle:
            self.ledger.settle(self.ledger.workers[worker_id], nbytes)
            turn.out.append(SettleClaim(worker_id, nbytes))
        missing_bytes = review.missing_bytes - gpu.recalled_bytes
        return self._recaller.choose(gpu, missing_bytes, self._links, turn.now_s) if missing_bytes > 0 else []

"""AQUA's lending: static pairs, and all of a lender's memory back at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aquahost.events import EventKind
from aquahost.leasing import events
from aquahost.leasing.instructions import (
    Announce,
    GrantLease,
    Instruction,
    RecallLease,
    RefuseClaim,
    SettleClaim,
)
from aquahost.leasing.lease import Lease
from aquahost.leasing.ledger import Ledger
from aquahost.leasing.links import Links
from aquahost.units import format_bytes

POLL_S = 4.0
RECLAIM_PENDING = 10
OFFER_PENDING = 2
"""A lender that is a language model takes its memory back with so many requests pending, and offers it with so few."""
_NO_DEADLINE_S = 1e12


@dataclass(frozen=True, slots=True)
class Pair:
    """One lender and its borrower."""

    donor: int
    borrower_gpu: int
    nbytes: int
    """What the lender offers."""


class AquaCoordinator:
    """Owns the ledger of static pairs; a `simulator.lending.Coordinator`."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        """Raises ValueError where a GPU is in two pairs: they are one to one."""
        donors, borrowers = [pair.donor for pair in pairs], [pair.borrower_gpu for pair in pairs]
        if len({*donors, *borrowers}) < 2 * len(pairs):
            raise ValueError("each GPU lends to one other, or borrows of one other")
        self.ledger = Ledger()
        self.pending: Callable[[int], int] = lambda gpu: 0
        """Requests that wait at the models of a GPU; set once the node is there."""
        self._pairs = tuple(pairs)
        self._links = Links({}, {}, 1e9)
        self._polled_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """It polls."""
        return bool(self._pairs)

    def handle(self, event: events.BrokerEvent, now_s: float) -> list[Instruction]:
        """Take in what happened; returns what is to be done."""
        out: list[Instruction] = []
        ledger = self.ledger
        match event:
            case events.LinksFound(rates, host_rates):
                self._links = Links(rates, host_rates, 1e9)
            case events.GpuRead(gpu, total_bytes, _):
                ledger.gpu(gpu).total_bytes = total_bytes
            case events.WorkerJoined(worker, name, gpu):
                ledger.join(worker, name, gpu)
            case events.ClaimMade(worker, nbytes):
                self._on_claim(worker, nbytes, out)
            case events.DemandMade(worker, nbytes, granule_bytes):
                account = ledger.workers[worker]
                account.demand_bytes, account.granule_bytes = nbytes, granule_bytes
                self._offer(out, now_s)
            case events.LeaseMapped(lease_id):
                ledger.map(ledger.leases[lease_id])
            case events.LeaseReturned(lease_id, nbytes):
                ledger.take_back(ledger.leases[lease_id], nbytes)
            case events.TimePassed() if now_s - self._polled_s >= POLL_S:
                self._polled_s = now_s
                self._poll(out, now_s)
        return out

    def _on_claim(self, worker: int, nbytes: int, out: list[Instruction]) -> None:
        """A lender lives with what it has left until it has taken its memory back."""
        account = self.ledger.workers[worker]
        home = self.ledger.home(account)
        available_bytes = home.claims[worker] + max(0, home.free_bytes)
        if nbytes <= available_bytes:
            self.ledger.settle(account, nbytes)
            out.append(SettleClaim(worker, nbytes))
        else:
            out.append(RefuseClaim(worker, nbytes, available_bytes))

    def _poll(self, out: list[Instruction], now_s: float) -> None:
        for pair in self._pairs:
            lease = self._lease_of(pair)
            is_busy = self.pending(pair.donor) >= RECLAIM_PENDING
            if lease is not None and is_busy and not lease.recalled_bytes:
                self.ledger.recall(lease, lease.nbytes, now_s)
                self.ledger.set_deadline(lease, now_s + _NO_DEADLINE_S)
                out.append(RecallLease(lease.borrower, lease.id, 0, now_s + _NO_DEADLINE_S))
                self._announce(EventKind.LEASE_RECALLED, lease, "must give back all", out)
        self._offer(out, now_s)

    def _offer(self, out: list[Instruction], now_s: float) -> None:
        for pair in self._pairs:
            there = [one for one in self.ledger.workers.values() if one.gpu == pair.borrower_gpu and one.demand_bytes]
            if not there or self._lease_of(pair) is not None:
                continue
            borrower = max(there, key=lambda one: one.demand_bytes)
            room_bytes = min(pair.nbytes, self.ledger.gpu(pair.donor).free_bytes)
            nbytes = room_bytes // borrower.granule_bytes * borrower.granule_bytes
            if nbytes > 0 and self.pending(pair.donor) <= OFFER_PENDING:
                lease = self.ledger.grant(pair.donor, borrower, nbytes, now_s)
                rate = self._links.between(pair.borrower_gpu, pair.donor)
                out.append(GrantLease(borrower.id, lease.id, pair.donor, nbytes, rate))
                self._announce(EventKind.LEASE_GRANTED, lease, "borrows", out)

    def _lease_of(self, pair: Pair) -> Lease | None:
        return next(iter(self.ledger.gpu(pair.donor).leases.values()), None)

    def _announce(self, kind: EventKind, lease: Lease, does: str, out: list[Instruction]) -> None:
        name = self.ledger.workers[lease.borrower].name
        message = f"{name} {does} {format_bytes(lease.nbytes)} of GPU {lease.donor} (lease {lease.id})"
        out.append(Announce(kind, message, name))

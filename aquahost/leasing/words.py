"""Between what workers and daemon say to each other about memory and what the broker is told and says."""

from __future__ import annotations

from typing import assert_never

from aquahost.leasing import events, instructions
from aquahost.messages import memory

Meant = (
    instructions.GrantLease
    | instructions.RecallLease
    | instructions.DropLease
    | instructions.SettleClaim
    | instructions.RefuseClaim
)
"""Instructions that a worker is told."""


def event_of(worker_id: int, report: memory.MemoryReport) -> events.BrokerEvent:
    """What the broker is told of a worker's words."""
    match report:
        case memory.Claim(nbytes):
            return events.ClaimMade(worker_id, nbytes)
        case memory.Demand(nbytes, granule_bytes):
            return events.DemandMade(worker_id, nbytes, granule_bytes)
        case memory.LeaseMapped(lease_id):
            return events.LeaseMapped(lease_id, worker_id)
        case memory.LeaseReturned(lease_id, nbytes):
            return events.LeaseReturned(lease_id, nbytes, worker_id)
        case memory.LeaseFailed(lease_id, reason):
            return events.LeaseFailed(lease_id, reason, worker_id)
        case _:
            assert_never(report)


def message_of(said: Meant) -> memory.MemoryInstruction:
    """What a worker is told of the broker's words."""
    match said:
        case instructions.GrantLease(_, lease_id, donor, nbytes, bytes_per_s):
            return memory.LeaseGranted(lease_id, donor, nbytes, bytes_per_s)
        case instructions.RecallLease(_, lease_id, keep_bytes, deadline_s):
            return memory.LeaseRecalled(lease_id, keep_bytes, deadline_s)
        case instructions.DropLease(_, lease_id, reason):
            return memory.LeaseLost(lease_id, reason)
        case instructions.SettleClaim(_, nbytes):
            return memory.ClaimSettled(nbytes)
        case instructions.RefuseClaim(_, nbytes, available_bytes):
            return memory.ClaimRefused(nbytes, available_bytes)
        case _:
            assert_never(said)

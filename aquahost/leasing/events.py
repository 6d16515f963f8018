"""What the broker is told. What workers say may be late, repeated or wrong; the ledger stands it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker lives on this GPU from now on; it claims nothing yet."""

    worker: int
    name: str
    """Its model's, for people."""
    gpu: int


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """Its process is gone, and with it all that it held on any GPU."""

    worker: int


@dataclass(frozen=True, slots=True)
class ClaimMade:
    """The worker wants to hold this much of its own GPU, all uses together."""

    worker: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class DemandMade:
    """The worker could use this much of other GPUs, leases that it has included."""

    worker: int
    nbytes: int
    granule_bytes: int
    """Its leases, and what is recalled of them, are multiples of this."""


@dataclass(frozen=True, slots=True)
class LeaseMapped:
    """The worker has allocated the whole lease."""

    lease_id: int
    worker: int


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """This much more of a lease is free on its donor again, asked for or not."""

    lease_id: int
    nbytes: int
    worker: int


@dataclass(frozen=True, slots=True)
class LeaseFailed:
    """The worker could not map the lease, or lost it, and holds nothing of it."""

    lease_id: int
    reason: str
    worker: int


@dataclass(frozen=True, slots=True)
class GpuRead:
    """A GPU's memory. Its capacity is what the first reading says."""

    gpu: int
    total_bytes: int
    other_bytes: int
    """In use by whatever is no worker of ours."""


@dataclass(frozen=True, slots=True)
class GpuLost:
    """A GPU cannot be used any more, and what lay there is gone."""

    gpu: int
    reason: str


@dataclass(frozen=True, slots=True)
class LinksFound:
    """Which GPUs reach each other's memory, and how fast; takes the place of what was found before."""

    rates: Mapping[tuple[int, int], float]
    """Bytes per second from one GPU to another, usable directions only."""
    host_rates: Mapping[int, float]
    """Bytes per second from a GPU to host memory."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Look at deadlines and cooldowns; needed only while `Broker.is_waiting`."""


BrokerEvent = (
    WorkerJoined
    | WorkerLeft
    | ClaimMade
    | DemandMade
    | LeaseMapped
    | LeaseReturned
    | LeaseFailed
    | GpuRead
    | GpuLost
    | LinksFound
    | TimePassed
)

"""What the broker wants done."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.events import EventKind


@dataclass(frozen=True, slots=True)
class GrantLease:
    """Let the worker allocate on another GPU; answered by LeaseMapped or LeaseFailed."""

    worker: int
    lease_id: int
    donor: int
    nbytes: int
    bytes_per_s: float
    """Of the link between borrower and donor, in the slower direction."""


@dataclass(frozen=True, slots=True)
class RecallLease:
    """Have the worker give back all but `keep_bytes` of a lease; answered by LeaseReturned, also in parts."""

    worker: int
    lease_id: int
    keep_bytes: int
    deadline_s: float


@dataclass(frozen=True, slots=True)
class DropLease:
    """Tell the worker that a lease's memory is gone. Not answered."""

    worker: int
    lease_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class SettleClaim:
    """The worker may hold this much of its own GPU from now on."""

    worker: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class RefuseClaim:
    """The worker cannot have that much, whatever is recalled, or has claimed anew while this claim waited; what was
    settled last stays."""

    worker: int
    nbytes: int
    available_bytes: int
    """The largest claim that it could."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker that keeps what is not its own; answered by WorkerLeft."""

    worker: int
    reason: str
    """How it ended, as the end of a sentence: "kept …, and was killed"."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell those who watch."""

    kind: EventKind
    message: str
    model: str | None = None
    """The model it is about."""


Instruction = GrantLease | RecallLease | DropLease | SettleClaim | RefuseClaim | KillWorker | Announce

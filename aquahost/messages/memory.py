"""What daemon and worker say to each other about memory: claims on the worker's own GPU, leases on its neighbours'.

What is wanted, settled or kept is said as a whole, never as a difference, so that messages that cross do no harm; only
what has been given back is told in the parts it comes in.
"""

from __future__ import annotations

import msgspec

# -- worker to daemon ------------------------------------------------------------------------------------------


class Claim(msgspec.Struct, frozen=True, tag="claim"):
    """The worker wants to hold this much of its own GPU, all uses together; less than before is free at once.

    Each claim is answered once, in the order they were made, by ClaimSettled or ClaimRefused; until then the worker
    holds no more than what was settled last.
    """

    nbytes: int


class Demand(msgspec.Struct, frozen=True, tag="demand"):
    """The worker could use this much of its neighbours' memory, leases that it has included; 0 wants none."""

    nbytes: int
    granule_bytes: int
    """Leases, and what is recalled of them, are multiples of this: the chunks of the worker's arena."""


class LeaseMapped(msgspec.Struct, frozen=True, tag="lease_mapped"):
    """The worker has allocated the whole lease on its donor and can reach it."""

    lease_id: int


class LeaseReturned(msgspec.Struct, frozen=True, tag="lease_returned"):
    """This much more of a lease is free again on its donor; also unasked, by a worker that needs less."""

    lease_id: int
    nbytes: int


class LeaseFailed(msgspec.Struct, frozen=True, tag="lease_failed"):
    """The worker cannot map the lease, or cannot reach its memory any more, and holds nothing of it."""

    lease_id: int
    reason: str


MemoryReport = Claim | Demand | LeaseMapped | LeaseReturned | LeaseFailed

# -- daemon to worker ------------------------------------------------------------------------------------------


class ClaimSettled(msgspec.Struct, frozen=True, tag="claim_settled"):
    """The worker may hold this much of its own GPU; what was lent of it has come back."""

    nbytes: int


class ClaimRefused(msgspec.Struct, frozen=True, tag="claim_refused"):
    """The GPU cannot give that much, whatever is recalled, or another claim was made while this one waited; the claim
    settled last stays."""

    nbytes: int
    available_bytes: int
    """The largest claim that it could."""


class LeaseGranted(msgspec.Struct, frozen=True, tag="lease_granted"):
    """The worker may allocate this much on GPU `donor`; answered by LeaseMapped or LeaseFailed."""

    lease_id: int
    donor: int
    nbytes: int
    bytes_per_s: float = 0.0
    """Rate of the link to that GPU, in the slower direction; 0 where it is not known."""


class LeaseRecalled(msgspec.Struct, frozen=True, tag="lease_recalled"):
    """The donor wants memory back: the worker moves what lies there and answers with LeaseReturned, also in parts."""

    lease_id: int
    keep_bytes: int
    """What the worker may keep of the lease; 0 ends it. A later recall of the same lease can only lower it."""
    deadline_s: float
    """`Clock.now_s()` by which it should be done; a worker that takes far longer is killed."""


class LeaseLost(msgspec.Struct, frozen=True, tag="lease_lost"):
    """The lease's memory is gone, as with its GPU: nothing in it can be read any more. Not answered."""

    lease_id: int
    reason: str


MemoryInstruction = ClaimSettled | ClaimRefused | LeaseGranted | LeaseRecalled | LeaseLost

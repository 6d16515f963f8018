"""Which waiting claims of one GPU can be settled, which never can, and what is missing for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.leasing.accounts import GpuAccount


@dataclass(slots=True)
class ClaimReview:
    """The verdict on one GPU's queue."""

    settle: list[tuple[int, int]] = field(default_factory=list)
    """(worker, bytes) of claims that fit now."""
    refuse: list[tuple[int, int, int]] = field(default_factory=list)
    """(worker, bytes, the most it could have) of claims that would not fit if every lease were recalled."""
    missing_bytes: int = 0
    """What must come back from leases, those recalled already included."""


def review_claims(gpu: GpuAccount) -> ClaimReview:
    """Look at the claims in the order they came. One that must wait holds up those behind it, so that many small ones
    cannot starve a large one; what it waits for counts as taken when they are judged."""
    review = ClaimReview()
    free = gpu.free_bytes
    reachable = gpu.reachable_bytes
    waits_for = 0
    for worker, nbytes in gpu.pending.items():
        settled = gpu.claims[worker]
        growth = nbytes - settled
        if growth > reachable:
            review.refuse.append((worker, nbytes, settled + reachable))
            continue
        reachable -= growth
        if waits_for == 0 and growth <= free:
            review.settle.append((worker, nbytes))
            free -= growth
        else:
            waits_for += growth
    review.missing_bytes = max(0, waits_for - free)
    return review

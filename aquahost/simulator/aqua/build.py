"""A node that AQUA's own policies run."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.config.settings import SchedulerSettings, Settings
from aquahost.placement.needs import need_of
from aquahost.simulator.aqua.coordinator import AquaCoordinator, Pair
from aquahost.simulator.aqua.policy import AquaPolicy
from aquahost.simulator.build import Builder
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.links import Wiring
from aquahost.simulator.node import Hosted, SimNode
from aquahost.units import GIB

_SPARED_BYTES = 5 * GIB
"""What a lender keeps of its GPU beside what it needs."""


def build_aqua(
    settings: Settings,
    hosted: Sequence[Hosted],
    wiring: Wiring,
    gpu_bytes: Sequence[int],
    *,
    chunk_bytes: int,
    pairs: Sequence[Pair] | None = None,
) -> SimNode:
    """A node with these pairs of lender and borrower, or those that `static_pairs` finds. Without leasing there are
    none, and state is paged to host memory."""
    if pairs is None:
        pairs = static_pairs(hosted, gpu_bytes, settings.scheduler)
    coordinator = AquaCoordinator(pairs if settings.leasing.enabled else ())
    builder = Builder(
        settings,
        wiring,
        gpu_bytes,
        chunk_bytes=chunk_bytes,
        coordinator=coordinator,
        make_policy=lambda name: AquaPolicy(),
        keeps_leases=True,
    )
    node = builder.build(hosted)

    def pending(gpu: int) -> int:
        """Requests at the language models of a GPU that do not run; other models never take their memory back."""
        here = [model for one, model in node.models if gpu in one.gpus and isinstance(model, LanguageModel)]
        return sum(model.scheduler.waiting + model.scheduler.suspended for model in here)

    coordinator.pending = pending
    return node


def static_pairs(hosted: Sequence[Hosted], gpu_bytes: Sequence[int], scheduler: SchedulerSettings) -> list[Pair]:
    """One lender for one borrower, as AQUA's profiler and placer would have it: what lacks most gets the largest offer.

    A GPU whose models want more KV at their expected traffic than they have there borrows, any other one with models
    lends what they leave.
    """
    left = list(gpu_bytes)
    lacking = [0] * len(left)
    for one in hosted:
        need = need_of(one.name, one.settings, one.profile, scheduler)
        for gpu in one.gpus:
            left[gpu] += need.signed_bytes(0)
            lacking[gpu] += need.remote_bytes
    used = sorted({gpu for one in hosted for gpu in one.gpus})
    borrowers = [gpu for gpu in used if left[gpu] < 0 or lacking[gpu]]
    offers = {gpu: left[gpu] - _SPARED_BYTES for gpu in used if gpu not in borrowers and left[gpu] > _SPARED_BYTES}
    donors = sorted(offers, key=lambda gpu: (-offers[gpu], gpu))
    borrowers.sort(key=lambda gpu: (-max(lacking[gpu], -left[gpu]), gpu))
    return [Pair(donor, gpu, offers[donor]) for donor, gpu in zip(donors, borrowers, strict=False)]

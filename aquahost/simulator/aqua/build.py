"""A node that AQUA's own policies run."""

from __future__ import annotations

from collections.abc import Sequence

from aquahost.config.settings import Settings
from aquahost.profiles.profile import GatedCosts, LanguageCosts
from aquahost.simulator.aqua.coordinator import AquaCoordinator, Pair
from aquahost.simulator.aqua.policy import AquaPolicy
from aquahost.simulator.build import Builder
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.links import Wiring
from aquahost.simulator.node import Hosted, SimNode
from aquahost.units import GIB

_SPARED_BYTES = 5 * GIB
"""What an image or audio model keeps of its GPU beside what it needs."""
_LANGUAGE_SHARE = 0.65
"""Of what its weights leave, a language model offers so much: AQUA's producers of 7 and 8 billion parameters lend 45
and 40 GB of 80."""


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
        pairs = static_pairs(hosted, gpu_bytes)
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


def static_pairs(hosted: Sequence[Hosted], gpu_bytes: Sequence[int]) -> list[Pair]:
    """One lender for one borrower: the language model with the largest weights gets the largest offer.

    Lenders are image and audio models, and language models that may not borrow (`borrow_bytes: 0`).
    """
    offers: dict[int, int] = {}
    borrowers: list[tuple[int, int]] = []
    for one in hosted:
        costs = one.profile.costs
        left_bytes = min(gpu_bytes[gpu] for gpu in one.gpus) - costs.weights_bytes
        for gpu in one.gpus:
            if isinstance(costs, GatedCosts):
                offers[gpu] = left_bytes - costs.sizes[-1].peak_bytes - _SPARED_BYTES
            elif one.settings.borrow_bytes == 0:
                offers[gpu] = round(_LANGUAGE_SHARE * left_bytes)
            elif isinstance(costs, LanguageCosts):
                borrowers.append((costs.weights_bytes, gpu))
    donors = sorted((gpu for gpu in offers if offers[gpu] > 0), key=lambda gpu: (-offers[gpu], gpu))
    borrowers.sort(key=lambda one: (-one[0], one[1]))
    return [Pair(donor, gpu, offers[donor]) for donor, (_, gpu) in zip(donors, borrowers, strict=False)]

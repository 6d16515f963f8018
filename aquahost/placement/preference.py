"""What of a plan the daemon goes by when it loads models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.placement.needs import Need
from aquahost.placement.plan import Plan

_OF_SPARE = 0.8
"""Part of what a shared GPU has to spare that its language models reserve for KV; they lend what they do not use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Where a model should go if it can."""

    gpu: int
    floor_bytes: int
    """What must be free there for it to be loaded."""
    kv_least_bytes: int = 0
    """The KV in that."""
    kv_bytes: int | None = None
    """KV to reserve there, since a share of what is free would leave too little for the models beside it; None where
    it is alone, or its entry says."""

    @property
    def planned_bytes(self) -> int:
        """What must be free there for it to reserve `kv_bytes`: weights, activations and these."""
        return self.floor_bytes if self.kv_bytes is None else self.floor_bytes - self.kv_least_bytes + self.kv_bytes


def preferences(plan: Plan, needs: Sequence[Need]) -> dict[str, Preference]:
    """By name, of models of one replica on one GPU."""
    of_name = {need.name: need for need in needs}
    found = {}
    for model in plan.models:
        need, gpu = of_name[model.name], plan.gpus[model.gpus[0]]
        kv_bytes = None
        if need.kv_bytes is None and need.kv_least_bytes and len(gpu.models) > 1:
            takers = sum(bool(of_name[name].kv_least_bytes) for name in gpu.models)
            spare_bytes = gpu.spare_bytes + gpu.lent_bytes
            kv_bytes = model.kv_own_bytes + round(_OF_SPARE * spare_bytes / takers)
        found[model.name] = Preference(
            gpu=gpu.gpu, floor_bytes=need.floor_bytes, kv_least_bytes=need.kv_least_bytes, kv_bytes=kv_bytes
        )
    return found

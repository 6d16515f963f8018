"""What a simulated language model is made of, and what its cost model is asked."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import StepShape
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.scheduler import Scheduler
from aquahost.simulator.adapters import Adapters
from aquahost.simulator.gpu_turns import GpuTurns
from aquahost.simulator.language_shard import LanguageShard
from aquahost.simulator.weights_parking import WeightsParking
from aquahost.simulator.workspace import SimWorkspace


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageParts:
    """What a language model is made of; one shard, workspace, parking and GPU turn for each GPU of its group."""

    name: str
    costs: LanguageCosts
    scheduler: Scheduler
    worker_ids: tuple[int, ...]
    shards: tuple[LanguageShard, ...]
    workspaces: tuple[SimWorkspace, ...]
    parkings: tuple[WeightsParking, ...]
    turns: tuple[GpuTurns, ...]
    max_queue: int
    adapters: Adapters | None = None

    @property
    def work_bytes(self) -> int:
        """Claimed beside weights and KV while prompts run."""
        return self.costs.peak_bytes + (self.adapters.here_bytes if self.adapters is not None else 0)


def step_shape(plan: StepPlan) -> StepShape:
    """What the cost model is to be asked."""
    prefill = sum(chunk.count for chunk in plan.chunks)
    return StepShape(
        decodes=len(plan.decodes),
        context=sum(prompt.tokens for prompt in plan.decodes),
        prefill=prefill,
        pairs=sum(chunk.count * (chunk.start + chunk.count / 2) for chunk in plan.chunks),
        prefill_context=sum(chunk.start for chunk in plan.chunks),
        chunks=max(1, len(plan.chunks)),
    )

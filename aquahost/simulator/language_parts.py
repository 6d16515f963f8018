"""What a simulated language model is made of."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.profiles.profile import LanguageCosts
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
    max_tokens: int
    """Of input and output of a prompt together: the entry's max_context or what the model was made for, and no more
    than KV memory surely holds, as the engine has it."""
    adapters: Adapters | None = None

    @property
    def work_bytes(self) -> int:
        """Claimed beside weights and KV while prompts run."""
        return self.costs.peak_bytes + (self.adapters.here_bytes if self.adapters is not None else 0)

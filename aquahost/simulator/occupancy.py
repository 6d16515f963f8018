"""What fills a simulated node's GPUs over time, and what lends."""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.engines.memory_desk import Part
from aquahost.simulator.language_model import LanguageModel
from aquahost.simulator.node import SimNode


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """One GPU's memory at one instant, in bytes."""

    weights: int = 0
    kv: int = 0
    work: int = 0
    lent: int = 0
    borrowed: int = 0
    """Of other GPUs, by models that live here."""
    total: int

    @property
    def free(self) -> int:
        """What nobody has."""
        return self.total - self.weights - self.kv - self.work - self.lent


@dataclass(slots=True)
class Occupancy:
    """A series of looks at a node."""

    at_s: list[float] = field(default_factory=list)
    gpus: list[list[GpuMemory]] = field(default_factory=list)
    """By look, then by GPU."""

    def look(self, node: SimNode) -> None:
        """Add the present."""
        self.at_s.append(node.agenda.now_s())
        self.gpus.append(gpu_memory(node))

    def means(self, until_s: float = float("inf")) -> list[dict[str, float]]:
        """Of each GPU: mean bytes by use, of the looks up to a time."""
        uses = ("weights", "kv", "work", "lent", "borrowed", "free")
        looks = [look for at_s, look in zip(self.at_s, self.gpus, strict=True) if at_s <= until_s]
        count = len(looks[0]) if looks else 0
        return [
            {use: sum(getattr(look[gpu], use) for look in looks) / len(looks) for use in uses} for gpu in range(count)
        ]


def gpu_memory(node: SimNode) -> list[GpuMemory]:
    """What fills each GPU now."""
    weights, kv, work, borrowed = ([0] * len(node.gpu_bytes) for _ in range(4))
    for hosted, model in node.models:
        if isinstance(model, LanguageModel):
            parts = model.parts
            for shard, parking, space in zip(parts.shards, parts.parkings, parts.workspaces, strict=True):
                weights[shard.gpu] += parking.gpu_bytes
                kv[shard.gpu] += shard.kv.local_bytes
                work[shard.gpu] += space.nbytes
                borrowed[shard.gpu] += shard.kv.borrowed_bytes
        else:
            gpu = hosted.gpus[0]
            weights[gpu] += model.parts.parking.gpu_bytes
            work[gpu] += model.parts.desk.settled(Part.WORK)
    ledger = node.lending.coordinator.ledger
    lent = [ledger.gpu(gpu).lent_bytes for gpu in range(len(node.gpu_bytes))]
    return [
        GpuMemory(weights=a, kv=b, work=c, lent=d, borrowed=e, total=total)
        for a, b, c, d, e, total in zip(weights, kv, work, lent, borrowed, node.gpu_bytes, strict=True)
    ]

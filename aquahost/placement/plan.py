"""A plan, as values: which model is on which GPU, who lends whom what, and how good that is."""

from __future__ import annotations

import msgspec


class PlacedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One replica. Sizes are those of each GPU of its group."""

    name: str
    replica: int
    server: int
    gpus: tuple[int, ...]
    """Counted over all servers."""
    pinned: bool
    """Its entry says where."""
    weights_bytes: int
    peak_bytes: int
    kv_wanted_bytes: int
    """KV that its traffic asks for."""
    kv_own_bytes: int
    """KV on its own GPU."""
    kv_borrowed_bytes: int
    """KV on others, of the GPU that borrows least."""
    kv_unmet_bytes: int
    """KV that nobody has memory for, of the GPU that lacks most; its prompts wait in host memory then."""
    utilisation: float
    live_prompts: float
    residence_s: float


class PlannedGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU. Weights, peak, KV, what it lends and spare come to its memory."""

    gpu: int
    server: int
    models: tuple[str, ...]
    weights_bytes: int
    peak_bytes: int
    kv_bytes: int
    lent_bytes: int
    spare_bytes: int
    """Neither used nor lent under the expected traffic."""
    borrowed_bytes: int
    utilisation: float


class PlannedLoan(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one GPU for a model's KV on another."""

    model: str
    replica: int
    gpu: int
    donor: int
    size_bytes: int
    bytes_per_s: float
    """Of the link."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One of the things minimised, in turn."""

    name: str
    value: float
    bound: float
    """No plan that does as well in the goals before this one has less."""

    @property
    def gap(self) -> float:
        """By what part of itself the value may be above the optimum."""
        return max(0.0, self.value - self.bound) / self.value if self.value > 0 else 0.0


class AquaComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The plan beside the best one found for AQUA's published objective, by both measures."""

    aqua_bytes: int
    """AQUA's objective of AQUA's plan. Ours exceeds it only where keeping it would cost more than 0.5 % of the met
    demand."""
    aqua_bound_bytes: int
    """No plan of AQUA's kind has less."""
    ours_bytes: int
    """AQUA's objective of our plan."""
    aqua_unmet_bytes: int
    """Unmet demand of AQUA's plan, if it could lend many to many."""
    ours_unmet_bytes: int
    """Of ours, never more than of AQUA's."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where all models go."""

    servers: int
    gpus_each: int
    memory_bytes: int
    """Of each GPU, for models."""
    models: tuple[PlacedModel, ...]
    gpus: tuple[PlannedGpu, ...]
    loans: tuple[PlannedLoan, ...]
    demand_bytes: int
    """KV that all models' traffic asks for."""
    unmet_bytes: int
    goals: tuple[Goal, ...]
    """In the order in which they count: unmet demand and the worst server's (bytes), models that share a GPU beyond
    the first on each, the busiest GPU's utilisation."""
    aqua: AquaComparison | None = None
    """None on one server, and where AQUA has no plan, or none that pins and links allow: it puts one model on a GPU."""

    def placed(self, name: str) -> list[PlacedModel]:
        """The replicas of a model."""
        return [model for model in self.models if model.name == name]

"""The policies by name."""

from __future__ import annotations

from aquahost.scheduling.fair import Fair
from aquahost.scheduling.fcfs import Fcfs
from aquahost.scheduling.policy import Policy
from aquahost.scheduling.slicer import StepTimes


def make_policy(name: str, *, paging_budget: float, known: StepTimes | None = None) -> Policy:
    """The policy "fair", "fcfs" or "priority"; `known`: what its model's steps take, as a profile says. Raises
    ValueError for any other name."""
    match name:
        case "fair":
            return Fair(paging_budget=paging_budget, known=known)
        case "priority":
            return Fair(paging_budget=paging_budget, by_level=True, known=known)
        case "fcfs":
            return Fcfs()
    raise ValueError(f"no policy {name!r}; there are fair, fcfs and priority")

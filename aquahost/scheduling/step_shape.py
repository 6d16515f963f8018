"""The shape of a planned step, as cost models are asked of it."""

from __future__ import annotations

from aquahost.profiles.step_costs import StepShape
from aquahost.scheduling.plan import StepPlan


def shape_of(plan: StepPlan) -> StepShape:
    """What a planned step, not yet committed, computes."""
    chunks = plan.chunks
    return StepShape(
        decodes=len(plan.decodes),
        context=sum(prompt.computed + 1 for prompt in plan.decodes),
        prefill=sum(chunk.count for chunk in chunks),
        pairs=float(sum(chunk.count * chunk.start + chunk.count * (chunk.count + 1) // 2 for chunk in chunks)),
        prefill_context=sum(chunk.start for chunk in chunks),
        chunks=max(1, len(chunks)),
    )

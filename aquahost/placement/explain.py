"""A plan in words: for each model why it is where it is, for each GPU what it lends."""

from __future__ import annotations

from collections.abc import Iterator

from aquahost.placement.plan import PlacedModel, Plan, PlannedGpu
from aquahost.units import format_bytes, format_seconds


def explain(plan: Plan) -> list[str]:
    """A line for each replica, then one for each GPU that lends, then what the plan cannot do."""
    return [
        *(model_line(plan, model) for model in plan.models),
        *(line for gpu in plan.gpus for line in _lent(plan, gpu)),
        *_lacking(plan),
    ]


def model_line(plan: Plan, model: PlacedModel) -> str:
    """Why a replica is there: what it takes of its GPUs, with whom it shares them, who lends it what."""
    each = " each" if len(model.gpus) > 1 else ""
    said = [f"{title(plan, model)} is on {gpu_names(model.gpus)}{', as its entry says' if model.pinned else ''}"]
    sizes = f"weights {format_bytes(model.weights_bytes)}, activations {format_bytes(model.peak_bytes)}"
    if model.kv_own_bytes or model.kv_wanted_bytes:
        sizes += f", KV {format_bytes(model.kv_own_bytes)}"
    said.append(f"{sizes}{each}")
    if model.kv_wanted_bytes:
        said.append(_wish(model))
    said += _borrowed(plan, model)
    said.append(_company(plan, model))
    return "; ".join(said)


def title(plan: Plan, model: PlacedModel) -> str:
    """The model's name, with the replica's number where there are several."""
    return f"{model.name} #{model.replica + 1}" if len(plan.placed(model.name)) > 1 else model.name


def gpu_names(gpus: tuple[int, ...]) -> str:
    """ "GPU 3", "GPUs 0 and 1"."""
    if len(gpus) == 1:
        return f"GPU {gpus[0]}"
    return f"GPUs {', '.join(map(str, gpus[:-1]))} and {gpus[-1]}"


def _wish(model: PlacedModel) -> str:
    asked = f"its traffic asks for {format_bytes(model.kv_wanted_bytes)} of KV"
    if not model.live_prompts:
        return f"{asked}, as no rate is given"
    stay = f"{model.live_prompts:.1f} prompts at once, each there for {format_seconds(model.residence_s)}, and bursts"
    return f"{asked} ({stay})"


def _borrowed(plan: Plan, model: PlacedModel) -> Iterator[str]:
    loans = [loan for loan in plan.loans if (loan.model, loan.replica) == (model.name, model.replica)]
    several = len(model.gpus) > 1
    for gpu in model.gpus:
        lent = [f"{format_bytes(loan.size_bytes)} of GPU {loan.donor}" for loan in loans if loan.gpu == gpu]
        if lent:
            yield f"borrows {' and '.join(lent)}{f' for GPU {gpu}' if several else ''}"
    if model.kv_unmet_bytes:
        yield f"lacks {format_bytes(model.kv_unmet_bytes)}, whose prompts wait in host memory"


def _company(plan: Plan, model: PlacedModel) -> str:
    time = f"{model.utilisation:.0%} of the time" if model.utilisation else "no traffic"
    others = [title(plan, other) for other in plan.models if other is not model and set(other.gpus) & set(model.gpus)]
    return f"{time}, beside {', '.join(others)}" if others else f"{time}, alone there"


def _lent(plan: Plan, gpu: PlannedGpu) -> Iterator[str]:
    loans = [loan for loan in plan.loans if loan.donor == gpu.gpu]
    if not loans:
        return
    to = [f"{format_bytes(loan.size_bytes)} to {loan.model} on GPU {loan.gpu}" for loan in loans]
    spare = f"; {format_bytes(gpu.spare_bytes)} stay free" if gpu.spare_bytes else ""
    yield f"GPU {gpu.gpu} lends {', '.join(to)}{spare}"


def _lacking(plan: Plan) -> Iterator[str]:
    if plan.unmet_bytes:
        asked = f"{format_bytes(plan.unmet_bytes)} of {format_bytes(plan.demand_bytes)}"
        yield f"in bursts {asked} of KV find no GPU memory; those prompts are paged to host memory"
    for model in plan.models:
        if model.utilisation >= 1:
            yield (
                f"{title(plan, model)} is asked for {model.utilisation:.1f} times what it can answer; "
                "its queue grows: give it more replicas, or less traffic"
            )

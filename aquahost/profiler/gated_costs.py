"""What an image or audio model costs on a GPU, worked out from what its passes do and a data sheet. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aquahost.profiler import achieved
from aquahost.profiles.data_sheets import DataSheet
from aquahost.profiles.profile import GatedCosts, SizedCost


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one pass does."""

    flops: float
    moved_bytes: float
    """Read and written by all operators; every operator's inputs and results go through HBM."""
    operators: int
    peak_bytes: int
    """Memory at the worst instant, beside what was there before."""
    is_wide: bool = False
    """Computed in float32, in TensorFloat32 units where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedWork:
    """The passes of one request of some size."""

    size: float
    begin: Sequence[Work]
    step: Work
    end: Work
    held_bytes: int
    """Kept from step to step."""
    steps_per_size: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedShape:
    """An image or audio model's passes, by size, smallest first."""

    parameters: int
    dtype: str
    dtype_bytes: int
    sizes: tuple[SizedWork, ...]
    default_steps: int
    default_size: float


def gated_costs(shape: GatedShape, sheet: DataSheet) -> GatedCosts:
    """The costs of a model that lies on one GPU."""
    return GatedCosts(
        weights_bytes=shape.parameters * shape.dtype_bytes,
        sizes=tuple(_sized_cost(one, sheet) for one in shape.sizes),
        default_steps=shape.default_steps,
        default_size=shape.default_size,
    )


def seconds(work: Work, sheet: DataSheet) -> float:
    """How long a pass takes: its arithmetic and the traffic between operators, which unfused kernels do one after the
    other, or launching its operators if that takes longer."""
    flops = achieved.FLOPS_SHARE * sheet.flops * (achieved.TENSOR_FLOAT32_FLOPS if work.is_wide else 1.0)
    busy_s = work.flops / flops + work.moved_bytes / achieved.memory_rate(sheet.memory_bytes_per_s)
    return max(busy_s, work.operators * achieved.OPERATOR_LAUNCH_S)


def _sized_cost(work: SizedWork, sheet: DataSheet) -> SizedCost:
    passes = [*work.begin, work.step, work.end]
    return SizedCost(
        size=work.size,
        peak_bytes=work.held_bytes + max(one.peak_bytes for one in passes),
        held_bytes=work.held_bytes,
        begin_s=sum(seconds(one, sheet) for one in work.begin),
        step_s=seconds(work.step, sheet),
        end_s=seconds(work.end, sheet),
        steps_per_size=work.steps_per_size,
    )

"""Counts what a model's pass does: it runs on torch's meta device, which computes shapes and no values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from aquahost.engines.peak_memory import measuring
from aquahost.profiler.gated_costs import Work

META = torch.device("meta")


def count_work(run: Callable[[], Any]) -> Work:
    """Arithmetic, memory traffic, operators and memory at the worst instant of what `run` does on the meta device.

    Attention counts as one operator that reads its inputs and writes its result, as fused kernels do.
    """
    traffic = _Traffic()
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, measuring(META) as meter, traffic:
        run()
    return Work(
        flops=flops.get_total_flops(),
        moved_bytes=traffic.moved_bytes,
        operators=traffic.operators,
        peak_bytes=meter.peak_bytes(),
    )


class _Traffic(TorchDispatchMode):
    """Adds up the bytes that operators read and write; those that only look at their input otherwise count nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved_bytes = 0
        self.operators = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        read, written = _tensors((args, kwargs)), _tensors(result)
        storages = {id(tensor.untyped_storage()) for tensor in read}
        if any(id(tensor.untyped_storage()) not in storages for tensor in written) or _is_in_place(func):
            self.operators += 1
            self.moved_bytes += sum(tensor.numel() * tensor.itemsize for tensor in (*read, *written))
        return result


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _is_in_place(func: Any) -> bool:
    name = str(getattr(func, "_opname", ""))
    return name.endswith("_") and not name.startswith("detach")

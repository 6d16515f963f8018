"""What all trainings share: the learning rate's course, and who is told of each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

WARM_STEPS = 100
Told = Callable[[int, float], None]
"""Called with the number of each step that has been made and its loss."""


def rate(step: int, steps: int, highest: float) -> float:
    """Warms up in a line, then falls as a cosine to a tenth."""
    if step < WARM_STEPS:
        return highest * (step + 1) / WARM_STEPS
    done = (step - WARM_STEPS) / max(1, steps - WARM_STEPS)
    return highest * (0.55 + 0.45 * math.cos(math.pi * done))


def descend(optimizer: Any, loss: Any, parameters: list[Any], *, step: int, steps: int, highest: float) -> float:
    """One step down; returns the loss."""
    import torch

    for group in optimizer.param_groups:
        group["lr"] = rate(step, steps, highest)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return float(loss.detach())

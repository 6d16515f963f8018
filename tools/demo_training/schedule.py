"""What all trainings share: the way down a loss, who is told of each step, and a file from which a training that was
stopped goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

WARM_STEPS = 100
KEPT_EVERY = 100
"""Steps: what is lost at most when a training is stopped."""
Told = Callable[[int, float], None]
"""Called with the number of each step that has been made and its loss."""


def rate(step: int, steps: int, highest: float) -> float:
    """Warms up in a line, then falls as a cosine to a tenth."""
    if step < WARM_STEPS:
        return highest * (step + 1) / WARM_STEPS
    done = (step - WARM_STEPS) / max(1, steps - WARM_STEPS)
    return highest * (0.55 + 0.45 * math.cos(math.pi * done))


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Descent:
    """Steps of `optimizer` down a loss, `steps` in all, on the weights of `parts`.

    Writes to the file `kept` parts, optimizer, torch's random state and the steps made, every `KEPT_EVERY` steps and
    after the last one, and takes them up again from there if they are of a training of as many steps. Who draws data
    from a stream skips the first `step` draws.
    """

    def __init__(
        self,
        parts: Mapping[str, torch.nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        highest: float,
        told: Told,
        kept: Path,
    ) -> None:
        self.step = 0
        """Steps made."""
        self._parts = parts
        self._optimizer = optimizer
        self._parameters = [one for group in optimizer.param_groups for one in group["params"]]
        self._steps = steps
        self._highest = highest
        self._told = told
        self._kept = kept
        if kept.exists():
            self._take_up(torch.load(kept, weights_only=True, map_location="cpu"))

    @property
    def goes_on(self) -> bool:
        """Whether there are steps left."""
        return self.step < self._steps

    def down(self, loss: torch.Tensor) -> None:
        """One step."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate(self.step, self._steps, self._highest)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self.step += 1
        self._told(self.step, float(loss.detach()))

    def keep(self) -> None:
        """Write the file, if it is time to. Called where a step and all that belongs to it has been made."""
        if self.step % KEPT_EVERY == 0 or not self.goes_on:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._kept.with_suffix(".new")
            torch.save(self._state(), unfinished)
            os.replace(unfinished, self._kept)

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "steps": self._steps,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "optimizer": self._optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }

    def _take_up(self, state: dict[str, Any]) -> None:
        if state["steps"] != self._steps:
            return
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]

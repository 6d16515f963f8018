"""What a language model's worker computed step by step, and how long each step kept it busy, in a file.

For measurements: the whole pass of the loop counts, with messages and whatever else has to be done beside a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aquahost.config.paths import log_name
from aquahost.profiles.step_costs import StepShape
from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.step_shape import shape_of

VARIABLE = "AQUAHOST_STEP_LOG_DIR"
"""Names the folder; without it nothing is logged."""


class LoggedStep(msgspec.Struct, frozen=True, array_like=True):
    """One line."""

    shape: StepShape
    seconds: float
    """From the end of the step before to this one's, both in a row without a pause."""
    read_s: float
    """Of that, waited for what it read in place elsewhere."""
    moves: int
    """Prompts that began to be paged out or in with it."""


class StepLog:
    """Owns the file. `planned` is told of each plan before it is computed, `passed` of the end of each pass."""

    def __init__(self, folder: Path, model: str) -> None:
        self._file = (folder / f"{log_name(model)}.steps").open("wb", buffering=1 << 16)
        self._plan: StepPlan | None = None
        self._shape = StepShape(decodes=0)
        self._moves = 0
        self._read_s: Callable[[], float] = float
        self._ended_s: float | None = None

    def watch(self, engine: Any) -> None:
        """Log a language engine's steps."""
        engine.on_plan = self.planned
        self._read_s = lambda: engine.sequences.read_wait_s

    def planned(self, plan: StepPlan) -> None:
        """A step is about to be computed."""
        self._plan = plan
        self._shape = shape_of(plan)
        self._moves = len(plan.paged_out) + len(plan.paged_in)

    def passed(self) -> None:
        """A pass of the loop has ended, with or without a step."""
        now_s = time.perf_counter()
        if self._plan is None or self._plan.is_empty:
            self._ended_s = None
            self._plan = None
            return
        if self._ended_s is not None:
            line = LoggedStep(self._shape, now_s - self._ended_s, self._read_s(), self._moves)
            self._file.write(msgspec.json.encode(line) + b"\n")
        self._plan, self._ended_s = None, now_s

    def close(self) -> None:
        """Write what is left."""
        self._file.close()


def read_steps(path: Path) -> list[LoggedStep]:
    """All steps that a worker has logged."""
    return [msgspec.json.decode(line, type=LoggedStep) for line in path.read_bytes().splitlines()]

"""Progress of trainings: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from demo_training.schedule import Told

LINE_EVERY = 100
"""Steps, where there is no terminal."""
Begin = Callable[[str, int], Told]
"""Begins to show a training of so many steps."""


@contextmanager
def progress(console: Console) -> Iterator[Begin]:
    """Shows trainings for as long as it is open."""
    if not console.is_terminal:
        yield lambda what, steps: _lines(console, what, steps)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        yield lambda what, steps: _bar(bars, what, steps)


def _bar(bars: Progress, what: str, steps: int) -> Told:
    task = bars.add_task(what, total=steps)

    def told(step: int, loss: float) -> None:
        bars.update(task, completed=step, description=f"{what}, loss {loss:.3f}")

    return told


def _lines(console: Console, what: str, steps: int) -> Told:
    began = time.monotonic()

    def told(step: int, loss: float) -> None:
        if step % LINE_EVERY == 0 or step == steps:
            minutes = (time.monotonic() - began) / 60
            console.print(f"{what}: step {step} of {steps}, loss {loss:.4f}, {minutes:.1f} min", soft_wrap=True)

    return told

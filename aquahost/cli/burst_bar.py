"""Progress of a measurement that takes minutes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aquahost.cli.output import say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from aquahost.bench.burst import Watcher


@contextmanager
def burst_progress(prompts: int) -> Iterator[Watcher]:
    """A bar of so many prompts on stderr while it lasts; a line for each thing measured where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("prompts"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=2,  # drawing takes time from what is measured
    )
    with progress:
        yield _Bar(progress, progress.add_task("", total=prompts))


class _Lines:
    def begin(self, what: str) -> None:
        say(f"{what} …")

    def prompt_ended(self) -> None:
        return


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def begin(self, what: str) -> None:
        self._progress.update(self._task, description=what)

    def prompt_ended(self) -> None:
        self._progress.advance(self._task)

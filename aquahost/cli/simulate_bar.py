"""Progress of a simulation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from aquahost.cli.output import say
from aquahost.units import format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Watcher(Protocol):
    """Is told how far a simulation has come."""

    def begin(self, what: str) -> None:
        """A run begins, like "fair × peer"."""

    def come_to(self, virtual_s: float, ended: int) -> None:
        """It has come to a virtual time, and so many prompts have ended."""


@contextmanager
def simulation_progress(prompts: int, runs: int, now_s: Callable[[], float]) -> Iterator[Watcher]:
    """A bar on stderr while it lasts, of so many prompts a run; a line for each run where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("prompts  {task.fields[how_far]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
    )
    with progress:
        yield _Bar(progress, progress.add_task("", total=prompts * runs, how_far=""), prompts, now_s)


class _Lines:
    def begin(self, what: str) -> None:
        say(f"{what} …")

    def come_to(self, virtual_s: float, ended: int) -> None:
        return


class _Bar:
    def __init__(self, progress: Progress, task: TaskID, prompts: int, now_s: Callable[[], float]) -> None:
        self._progress, self._task = progress, task
        self._prompts, self._now_s = prompts, now_s
        self._run, self._began_s = -1, 0.0

    def begin(self, what: str) -> None:
        self._run += 1
        self._began_s = self._now_s()
        self._progress.update(self._task, description=what, completed=self._run * self._prompts)

    def come_to(self, virtual_s: float, ended: int) -> None:
        took_s = self._now_s() - self._began_s
        speed = f", {virtual_s / took_s:,.0f} × as fast" if took_s > 0 else ""
        self._progress.update(
            self._task,
            completed=self._run * self._prompts + ended,
            how_far=f"{format_seconds(virtual_s)} of virtual time{speed}",
        )

"""Progress of a simulation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from aquahost.cli.output import say
from aquahost.units import counted, format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


LINE_S = 10.0
"""Between two lines where there is no bar."""


class Watcher(Protocol):
    """Is told how far a simulation has come."""

    def begin(self, what: str) -> None:
        """A run begins, like "fair × peer"."""

    def come_to(self, virtual_s: float, ended: int) -> None:
        """It has come to a virtual time, and so many prompts have ended."""


@contextmanager
def simulation_progress(prompts: int, runs: int, now_s: Callable[[], float]) -> Iterator[Watcher]:
    """A bar on stderr while it lasts, of so many prompts a run; where that is no terminal, a line for each run and one
    every `LINE_S`."""
    if not sys.stderr.isatty():
        yield _Lines(prompts, now_s)
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
    def __init__(self, prompts: int, now_s: Callable[[], float]) -> None:
        self._prompts, self._now_s = prompts, now_s
        self._what, self._began_s, self._said_s = "", 0.0, 0.0

    def begin(self, what: str) -> None:
        self._what = what
        self._began_s = self._said_s = self._now_s()
        say(f"{what} …")

    def come_to(self, virtual_s: float, ended: int) -> None:
        now_s = self._now_s()
        if now_s - self._said_s >= LINE_S:
            self._said_s = now_s
            far = _how_far(virtual_s, now_s - self._began_s)
            say(f"{self._what}: {ended:,} of {counted(self._prompts, 'prompt')}, {far}")


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
        self._progress.update(
            self._task,
            completed=self._run * self._prompts + ended,
            how_far=_how_far(virtual_s, self._now_s() - self._began_s),
        )


def _how_far(virtual_s: float, took_s: float) -> str:
    speed = f", {virtual_s / took_s:,.0f} × as fast" if took_s > 0 else ""
    return f"{format_seconds(virtual_s)} of virtual time{speed}"

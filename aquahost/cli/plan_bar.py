"""Progress of a plan's making."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def plan_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr while it lasts; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with progress:
        task = progress.add_task("planning", total=None)
        yield lambda what, done, whole: progress.update(task, description=what, completed=done, total=whole)

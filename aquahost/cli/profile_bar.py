"""Progress of a model's measuring."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aquahost.cli.output import say

if TYPE_CHECKING:
    from aquahost.profiler.wire import Note


@contextmanager
def profile_progress(name: str) -> Iterator[Callable[[Note], None]]:
    """A bar on stderr while it lasts; one line where that is no terminal."""
    if not sys.stderr.isatty():
        say(f"measuring {name} …")
        yield lambda note: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=2,  # drawing takes time from what is measured
    )
    with progress:
        task = progress.add_task(escape(name), total=None)

        def show(note: Note) -> None:
            progress.update(task, description=escape(note.what), completed=note.done, total=note.total or None)

        yield show

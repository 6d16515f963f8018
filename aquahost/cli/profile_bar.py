"""Progress of a model's measuring."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aquahost.cli.output import say

if TYPE_CHECKING:
    from aquahost.profiler.wire import Note


LINE_S = 10.0
"""Between two lines of a stage where there is no bar."""
_NUMBER = re.compile(r"\d+")


@contextmanager
def profile_progress(name: str, now_s: Callable[[], float]) -> Iterator[Callable[[Note], None]]:
    """A bar on stderr while it lasts; where that is no terminal a line for each stage, and one every `LINE_S`."""
    if not sys.stderr.isatty():
        say(f"measuring {name} …")
        yield _Lines(now_s).show
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
            progress.update(task, description=escape(_told(note)), completed=note.done, total=note.total or None)

        yield show


class _Lines:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._stage, self._said, self._said_s = "", "", 0.0

    def show(self, note: Note) -> None:
        stage, told, now_s = _NUMBER.sub("", note.what), _told(note), self._now_s()
        if stage != self._stage or (told != self._said and now_s - self._said_s >= LINE_S):
            self._stage, self._said, self._said_s = stage, told, now_s
            say(f"  {told}")


def _told(note: Note) -> str:
    """What is done now, and the how manieth of all that is."""
    if note.in_bytes or note.total <= 1:
        return note.what
    return f"{note.what} ({min(note.done + 1, note.total)} of {note.total})"

"""Progress bars of loading models, for a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from aquahost.cli.follow import state_text
from aquahost.messages.snapshot import ModelState, ModelView


class LoadBars:
    """One bar a model on stderr, filled by bytes or shards. A context manager."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[model]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> LoadBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, model: ModelView) -> None:
        """Move the model's bar."""
        if model.name not in self._tasks:
            self._tasks[model.name] = self._progress.add_task("", total=None, model=escape(model.name), state="")
        task = self._tasks[model.name]
        self._progress.update(task, state=escape(state_text(model)))
        match model.state:
            case ModelState.READY:
                self._progress.update(task, total=1, completed=1)
                self._progress.stop_task(task)
            case ModelState.FAILED:
                self._progress.update(task, total=1, completed=0)
                self._progress.stop_task(task)
            case _ if model.load is not None and model.load.total > 0:
                self._progress.update(task, total=model.load.total, completed=model.load.done)
            case _:
                self._progress.update(task, total=None)

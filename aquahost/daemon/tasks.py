"""Background work of the event loop that must not fail unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


class Tasks:
    """Tasks that run until they end, or until all of them are cancelled. An exception becomes a fault."""

    def __init__(self, owner: str, faults: list[str]) -> None:
        """`owner` names whoever is broken by an exception; `faults` takes the word on it."""
        self._owner = owner
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def ended(self) -> None:
        """Wait until none runs."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Cancel all, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s broke", self._owner, exc_info=error)
            self._faults.append(f"{self._owner} broke ({type(error).__name__}); restart the daemon")

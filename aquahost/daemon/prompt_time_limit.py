"""The end of prompts that take too long."""

from __future__ import annotations

import asyncio

from aquahost.daemon.router import Router
from aquahost.daemon.tasks import Tasks

LONGEST_NAP_S = 1.0
"""By which a prompt may outlive its time."""


class PromptTimeLimit:
    """Has the router fail prompts once they have been live for `timeout_s`; None lets them go on."""

    def __init__(self, router: Router, timeout_s: float | None) -> None:
        self._router, self._timeout_s = router, timeout_s
        self.faults: list[str] = []
        """What broke; empty if all is well."""
        self._tasks = Tasks("the time limit of prompts", self.faults)

    def begin(self) -> None:
        """Watch, in the background."""
        if self._timeout_s is not None:
            self._tasks.begin(self._watch(self._timeout_s))

    async def close(self) -> None:
        """Watch no longer."""
        await self._tasks.cancel()

    async def _watch(self, timeout_s: float) -> None:
        while True:
            self._router.end_overdue(timeout_s)
            await asyncio.sleep(min(LONGEST_NAP_S, timeout_s / 4))

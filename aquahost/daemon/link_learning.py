"""How GPUs reach each other, found once after the daemon's start."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aquahost.daemon.event_log import EventLog
from aquahost.daemon.supervisor import Supervisor
from aquahost.errors import StartError
from aquahost.events import EventKind
from aquahost.messages.snapshot import LinkView

logger = logging.getLogger(__name__)

FindLinks = Callable[[], Awaitable[Sequence[LinkView]]]
"""Finds how GPUs reach each other and host memory; raises StartError with the reason if that can't be told."""


class LinkLearning:
    """Has the links found where anything may be lent, and tells the supervisor, whose workers wait for it."""

    def __init__(self, supervisor: Supervisor, find_links: FindLinks | None, events: EventLog) -> None:
        self.trouble: str | None = None
        """Why nothing is lent although it may."""
        self._supervisor = supervisor
        self._find_links = find_links
        self._events = events
        self._learning: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to look; where nothing is to be lent there is nothing to find."""
        if self._find_links is None or not self._supervisor.lends:
            self._supervisor.links_known.set()
        else:
            self._learning = asyncio.create_task(self._learn(self._find_links))

    async def close(self) -> None:
        """Look no longer."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait([self._learning])

    async def _learn(self, find_links: FindLinks) -> None:
        try:
            self._supervisor.lending.found(await find_links())
        except Exception as error:  # whatever it is, models must load
            self.trouble = str(error) if isinstance(error, StartError) else f"{type(error).__name__}: {error}"
            logger.error("nothing will be lent: %s", self.trouble, exc_info=not isinstance(error, StartError))
            self._events.add(EventKind.LINK_REFUSED, f"nothing will be lent: {self.trouble}")
            self._supervisor.lends = False
        finally:
            self._supervisor.links_known.set()

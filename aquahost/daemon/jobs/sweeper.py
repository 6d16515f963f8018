"""Removes what need not be kept any longer, and calls off batches whose time is over."""

from __future__ import annotations

import asyncio
import logging
import time

from aquahost.config.settings import JobSettings
from aquahost.daemon.jobs.ages import Ages
from aquahost.daemon.jobs.batch_work import BatchWork
from aquahost.daemon.jobs.store_thread import StoreThread
from aquahost.errors import StorageError

logger = logging.getLogger(__name__)

SWEEP_S = 60.0


class Sweeper:
    """Looks once a minute, by a clock whose jumps ahead end nothing."""

    def __init__(self, storage: StoreThread, batches: BatchWork, settings: JobSettings) -> None:
        self._storage, self._batches, self._settings = storage, batches, settings
        self._ages = Ages()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                self._look()
                await self._batches.expire(self._ages.age_s)
                await self._remove_surplus()
            except StorageError as error:
                logger.error("nothing can be removed: %s", error)
            await asyncio.sleep(SWEEP_S)

    async def make_room(self) -> None:
        """Remove what there is no room for now that more has come; what fails is tried again with the next sweep."""
        try:
            await self._remove_surplus()
        except StorageError as error:
            logger.error("nothing can be removed: %s", error)

    async def _remove_surplus(self) -> None:
        self._look()
        age_s, settings = self._ages.age_s, self._settings
        await self._storage.do(
            lambda store: store.sweep(age_s=age_s, keep_s=settings.keep_s, max_bytes=settings.max_bytes)
        )

    def _look(self) -> None:
        # A monotonic clock stands still while the machine sleeps.
        jump_s = self._ages.look(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
        if jump_s:
            logger.warning("the clock has jumped by %+.0f s; jobs, files and batches do not get older by that", jump_s)

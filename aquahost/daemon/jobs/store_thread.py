"""The store in a thread of its own, so that no disk ever keeps the event loop waiting."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aquahost.daemon.jobs.store import Store
from aquahost.errors import StartError, StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")
RETRY_S = 5.0
"""How long after a failure of the disk to try again."""


class StoreThread:
    """Calls the store, one call after the other."""

    def __init__(self, folder: Path) -> None:
        """Opens the store at once, as it was when the last daemon ended; raises StartError."""
        self.store = Store(folder)
        try:
            interrupted = self.store.recover(time.time())
        except (sqlite3.Error, OSError) as error:
            self.store.close()
            raise StartError(f"the jobs in {folder} cannot be used: {reason(error)}; free some disk space") from error
        if interrupted:
            logger.info("jobs that the last daemon had begun run again: %d", interrupted)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self._closing = asyncio.Event()

    async def do(self, work: Callable[[Store], T]) -> T:
        """What `work` returns, which is called with the store in its thread. Raises StorageError where the disk or the
        database fails; the change is not made then."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, self.store)
        except (sqlite3.Error, OSError) as error:
            raise not_kept("the daemon's jobs", error, retry_after_s=RETRY_S) from error

    async def insist(self, work: Callable[[Store], T]) -> T | None:
        """As `do`, again and again until the disk takes it; None if the daemon ends before that."""
        while True:
            try:
                return await self.do(work)
            except StorageError as error:
                await self.pause(str(error))
            if self._closing.is_set():
                return None

    async def pause(self, why: str) -> None:
        """Wait before trying again what failed, or until the daemon ends."""
        logger.error("%s; trying again in %g s", why, RETRY_S)
        await self.wait()

    @property
    def closing(self) -> bool:
        """Whether those who insist are to give up."""
        return self._closing.is_set()

    async def wait(self) -> None:
        """Let some time pass, or the daemon's end come."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), RETRY_S)

    def stop_insisting(self) -> None:
        """Have those who insist give up; the next daemon finds things as they last were on disk."""
        self._closing.set()

    async def close(self) -> None:
        """Wait for the calls under way, and let go of the folder."""
        self.stop_insisting()
        await asyncio.to_thread(self._thread.shutdown)
        self.store.close()


def not_kept(what: str, error: sqlite3.Error | OSError, *, retry_after_s: float) -> StorageError:
    """The error that says why `what` is not kept, and if there is no room, who can make some."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    else:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    advice = "; whoever runs the daemon must free some disk space" if full else ""
    return StorageError(f"{what} cannot be kept: {reason(error)}{advice}", retry_after_s=retry_after_s, is_full=full)


def reason(error: Exception) -> str:
    """Why the disk or the database failed, in words without paths."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

"""Runs queued jobs: tenants by turns, so many of a model at a time, and again if they were interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from aquahost.clock import Clock
from aquahost.daemon.jobs.job_table import Job
from aquahost.daemon.jobs.pauses import Pauses
from aquahost.daemon.jobs.store import Reply, Store
from aquahost.daemon.jobs.store_thread import RETRY_S, StoreThread
from aquahost.errors import RequestError, StorageError
from aquahost.log_privacy import OF_PROMPT
from aquahost.messages.prompts import ErrorDetail

logger = logging.getLogger(__name__)

Execute = Callable[[Job, Callable[[], None]], Awaitable[Reply]]
"""Has a job's request answered, and calls back once its model has taken it. Raises RequestError; when cancelled, it
drops the job's prompts."""
CANCELLED_STATUS = 499
"""Of the error of a job whose prompt someone has cancelled."""


class Runner:
    """Owns the jobs that run. A job that is refused or interrupted is queued again, and what it has made is dropped."""

    def __init__(
        self,
        storage: StoreThread,
        execute: Execute,
        *,
        at_once: Callable[[str], int],
        clock: Clock,
        ended: Callable[[Job], None],
    ) -> None:
        """`at_once`: most jobs of a model at a time. `ended` is told of each job that has ended for good."""
        self.pauses = Pauses()
        self.unkept: set[str] = set()
        """Jobs that are done but for their results, for which the disk has no room."""
        self._storage = storage
        self._execute = execute
        self._at_once = at_once
        self._clock = clock
        self._ended = ended
        self._running: dict[str, asyncio.Task[None]] = {}
        self._of_model: Counter[str] = Counter()
        self._dropped: set[str] | None = None
        """Those dropped while jobs are being claimed, which may be among these."""
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something to begin."""
        self._wake.set()

    def drop(self, job: str) -> None:
        """Stop a job that has been cancelled, if it runs."""
        if task := self._running.get(job):
            task.cancel()
        elif self._dropped is not None:
            self._dropped.add(job)

    async def run(self) -> None:
        """Begin jobs as they come, until cancelled; those that run go on."""
        while True:
            self._wake.clear()
            now_s = self._clock.now_s()  # the same for all, lest a pause end between two looks at it
            try:
                await self._begin_what_fits(now_s)
                wait_s = self.pauses.next_s(now_s)
            except StorageError as error:
                logger.error("no job can be begun: %s; trying again in %g s", error, RETRY_S)
                wait_s = RETRY_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    async def close(self) -> None:
        """Interrupt the jobs that run; they are queued again. Call it once `run` has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin_what_fits(self, now_s: float) -> None:
        for model in await self._storage.do(lambda store: store.jobs.queued_models()):
            free = self._at_once(model) - self._of_model[model]
            if free > 0:
                await self._begin(model, free, now_s)

    async def _begin(self, model: str, most: int, now_s: float) -> None:
        paused = self.pauses.tenants(model, now_s)

        def claim(store: Store) -> list[Job]:
            return store.jobs.claim(model, paused, most, time.time())

        self._dropped = dropped = set[str]()
        claiming = asyncio.ensure_future(self._storage.do(claim))
        try:
            jobs = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # A disk that fails now must not keep the end from coming; the next daemon finds what was claimed.
            with contextlib.suppress(StorageError):
                await self._give_back(await claiming)
            raise
        finally:
            self._dropped = None
        for job in jobs:
            if job.id in dropped:
                continue
            self._of_model[model] += 1
            task = asyncio.create_task(self._run(job))
            self._running[job.id] = task
            task.add_done_callback(functools.partial(self._over, job))

    async def _give_back(self, jobs: list[Job]) -> None:
        for job in jobs:
            await self._storage.do(_requeue(job, refused=True))

    def _over(self, job: Job, _: asyncio.Task[None]) -> None:
        del self._running[job.id]
        self._of_model[job.model] -= 1
        self._wake.set()

    async def _run(self, job: Job) -> None:
        was_taken = False

        def taken() -> None:
            nonlocal was_taken
            was_taken = True
            self.pauses.taken(job.model, job.tenant)

        try:
            reply = await self._execute(job, taken)
            await self._complete(job, reply)
        except asyncio.CancelledError:
            await self._storage.insist(_requeue(job, refused=False))  # in vain where it was cancelled for good
            raise
        except RequestError as error:
            await self._on_error(job, error, refused=not was_taken)
        except Exception:
            logger.exception("job %s broke", job.id, extra=OF_PROMPT)
            await self._fail(job, ErrorDetail(message="an internal fault; see `aquahost logs`", code="internal_error"))

    async def _on_error(self, job: Job, error: RequestError, *, refused: bool) -> None:
        if error.status in (429, 503):
            self.pauses.refused(
                job.model,
                job.tenant,
                now_s=self._clock.now_s(),
                retry_after_s=error.retry_after_s,
                why=error.message,
            )
            await self._storage.insist(_requeue(job, refused=refused))
            return
        if error.status == CANCELLED_STATUS:
            await self._storage.insist(lambda store: store.jobs.cancel(job.id, time.time()))
            self._ended(job)
            return
        await self._fail(job, detail_of(error))

    async def _complete(self, job: Job, reply: Reply) -> None:
        try:
            kept = await self._keep(job, reply)
        except StorageError as error:
            logger.error("the result of job %s is lost: %s", job.id, error)
            message = f"the result could not be kept: {error.message}"
            await self._fail(job, ErrorDetail(message=message, status=500, code=error.code))
            return
        finally:
            self.unkept.discard(job.id)
        if kept:
            self._ended(job)
        else:
            await self._storage.insist(_requeue(job, refused=False))

    async def _keep(self, job: Job, reply: Reply) -> bool:
        """Keep a result, on a full disk once there is room; False if the daemon ends before that."""
        while True:
            try:
                await self._storage.do(lambda store: store.keep_result(job, reply, time.time()))
            except StorageError as error:
                if not error.is_full:
                    raise
                if job.id not in self.unkept:
                    logger.error("the result of job %s waits for room on the disk: %s", job.id, error)
                self.unkept.add(job.id)
            else:
                return True
            if self._storage.closing:
                return False
            await self._storage.wait()

    async def _fail(self, job: Job, detail: ErrorDetail) -> None:
        await self._storage.insist(lambda store: store.jobs.fail(job.id, detail, time.time()))
        self._ended(job)


def detail_of(error: RequestError) -> ErrorDetail:
    """An error as it is kept."""
    return ErrorDetail(message=error.message, status=error.status, type=error.type, param=error.param, code=error.code)


def _requeue(job: Job, *, refused: bool) -> Callable[[Store], bool]:
    return lambda store: store.jobs.requeue(job.id, refused=refused)

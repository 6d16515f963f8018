"""Durable jobs behind one object: what the API asks, and what runs by itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

import msgspec

from aquahost.clock import Clock
from aquahost.config.settings import JobSettings
from aquahost.daemon.jobs.batch_files import WriteLine
from aquahost.daemon.jobs.batch_work import BatchWork, ReadInput
from aquahost.daemon.jobs.job_table import Job, NewJob
from aquahost.daemon.jobs.names import batch_id, file_id
from aquahost.daemon.jobs.runner import Execute, Runner
from aquahost.daemon.jobs.store import Store
from aquahost.daemon.jobs.store_thread import StoreThread, not_kept
from aquahost.daemon.jobs.sweeper import Sweeper
from aquahost.daemon.tasks import Tasks
from aquahost.errors import ModelStateError, QueueFullError, UnknownJobError
from aquahost.messages.jobs import Batch, BatchState, JobState, JobView, StoredFile

FULL_RETRY_S = 60.0


class JobDesk:
    """Owns the jobs of a folder. Construct, `start`, and in the end `close`, all in the event loop's thread.

    Methods raise StorageError (503) where the disk fails, and UnknownJobError (404) for what is not there or another
    tenant's.
    """

    def __init__(
        self,
        folder: Path,
        settings: JobSettings,
        *,
        execute: Execute,
        at_once: Callable[[str], int],
        read_input: ReadInput,
        write_line: WriteLine,
        clock: Clock,
        faults: list[str],
    ) -> None:
        """Opens the folder and clears up what a killed daemon left there; raises StartError. `execute` answers a job's
        request, `at_once` says how many of a model may run at a time, `read_input` and `write_line` know the lines of
        batches; `faults` takes the word on what has broken."""
        self.settings = settings
        self._storage = StoreThread(folder)
        self._tasks = Tasks("the jobs", faults)
        self._runner = Runner(self._storage, execute, at_once=at_once, clock=clock, ended=self._job_ended)
        self._batches = BatchWork(
            self._storage,
            read_input=read_input,
            write_line=write_line,
            wake=self._runner.wake,
            drop=self._runner.drop,
            most_open=settings.max_queued,
            faults=faults,
        )
        self._sweeper = Sweeper(self._storage, self._batches, settings)

    def start(self) -> None:
        """Begin to run jobs, and go on with what an earlier daemon left."""
        self._tasks.begin(self._batches.start())
        self._tasks.begin(self._runner.run())
        self._tasks.begin(self._sweeper.run())

    async def stop_beginning(self) -> None:
        """Begin no more jobs; those that run go on."""
        await self._tasks.cancel()

    async def close(self) -> None:
        """Interrupt the jobs that still run (they are queued again), and let go of the folder."""
        self._storage.stop_insisting()
        await self.stop_beginning()
        await self._batches.close()
        await self._runner.close()
        await self._storage.close()

    # -- jobs --------------------------------------------------------------------------------------------------

    async def submit(self, jobs: list[NewJob]) -> list[JobView]:
        """Queue jobs, all or none; they are on disk when this returns. Raises QueueFullError."""

        def add(store: Store) -> list[JobView]:
            for tenant, count in Counter(job.tenant for job in jobs).items():
                self._check_room(store, tenant, count)
            return store.submit(jobs, time.time())

        views = await self._storage.do(add)
        self._runner.wake()
        return views

    async def jobs(self, states: Collection[JobState], limit: int) -> list[JobView]:
        """The newest `limit` jobs in these states, of all tenants, oldest first."""
        return [self._noted(view) for view in await self._storage.do(lambda store: store.jobs.views(states, limit))]

    async def counts(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        found = await self._storage.do(lambda store: store.jobs.counts())
        return {state.value: found.get(state.value, 0) for state in JobState}

    async def job(self, job: str) -> JobView:
        """A job of any tenant."""
        view = await self._storage.do(lambda store: store.jobs.view(job))
        if view is None:
            raise UnknownJobError(f"no job {job[:100]!r}; see `aquahost jobs`", code="job_not_found")
        return self._noted(view)

    async def result(self, job: str) -> tuple[JobView, bytes]:
        """A completed job's result. Raises ModelStateError (409) for one that has none."""
        view = await self.job(job)
        if view.state is not JobState.COMPLETED:
            why = f": {view.error.message}" if view.error else ""
            raise ModelStateError(f"job {job} has no result, it is {view.state}{why}", code="job_not_completed")
        return view, await self._storage.do(lambda store: store.blobs.read(job))

    async def cancel(self, job: str) -> JobView:
        """End an open job. Raises ModelStateError (409) for one that has ended."""
        if not await self._storage.do(lambda store: store.jobs.cancel(job, time.time())):
            view = await self.job(job)
            raise ModelStateError(f"job {job} has ended, it is {view.state}", code="job_has_ended")
        self._runner.drop(job)
        view = await self.job(job)
        self._batch_has_changed(view.batch_id)
        return view

    # -- files -------------------------------------------------------------------------------------------------

    async def add_file(self, tenant: str, name: str, purpose: str, content: IO[bytes], nbytes: int) -> StoredFile:
        """Keep a tenant's file; `content` is read in a thread."""
        now_s = time.time()
        file = StoredFile(id=file_id(), tenant=tenant, name=name, purpose=purpose, nbytes=nbytes, created_at=int(now_s))
        try:
            await asyncio.to_thread(self._storage.store.blobs.copy, file.id, content)
        except OSError as error:
            raise not_kept("the file", error, retry_after_s=FULL_RETRY_S) from error
        await self._storage.do(lambda store: store.files.add(file))
        await self._sweeper.make_room()
        return file

    async def file(self, tenant: str, file: str) -> StoredFile:
        """A tenant's file."""
        found = await self._storage.do(lambda store: store.files.get(tenant, file))
        if found is None:
            raise UnknownJobError(f"no file {file[:100]!r}", code="file_not_found")
        return found

    async def files(
        self, tenant: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> list[StoredFile]:
        """A tenant's files in the order they came, from the one after `after` on."""
        return await self._storage.do(
            lambda store: store.files.page(tenant, purpose=purpose, after=after, limit=limit, newest_first=newest_first)
        )

    def content(self, file: StoredFile) -> Path:
        """Where a file's content lies; it may go at any time."""
        return self._storage.store.blobs.path(file.id)

    async def remove_file(self, tenant: str, file: str) -> None:
        """Forget a tenant's file. Raises ModelStateError (409) for one that a batch is yet to read."""
        await self.file(tenant, file)

        def remove(store: Store) -> bool:
            if not any(kept.id == file for kept in store.files.unused()):
                return False
            store.remove_file(file)
            return True

        if not await self._storage.do(remove):
            raise ModelStateError(f"file {file} is being read by a batch; try again soon", code="file_in_use")

    # -- batches -----------------------------------------------------------------------------------------------

    async def create_batch(
        self,
        tenant: str,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str,
        window_s: float,
        metadata: dict[str, str] | None,
        models: list[str] | None = None,
    ) -> Batch:
        """Begin a batch over a tenant's file, whose requests may ask `models` only, if given; its lines are looked
        at in the background."""
        await self.file(tenant, input_file_id)
        now_s = int(time.time())
        batch = Batch(
            id=batch_id(),
            tenant=tenant,
            endpoint=endpoint,
            input_file_id=input_file_id,
            output_file_id=file_id(),
            error_file_id=file_id(),
            completion_window=completion_window,
            window_s=window_s,
            state=BatchState.VALIDATING,
            created_at=now_s,
            metadata=metadata,
            models=models,
        )

        def add(store: Store) -> None:
            self._check_room(store, tenant, 1)
            store.batches.add(batch)

        await self._storage.do(add)
        self._batches.look(batch.id)
        return batch

    async def batch(self, tenant: str, batch: str) -> Batch:
        """A tenant's batch, with how its requests stand."""
        found = await self._any_batch(batch)
        if found.tenant != tenant:
            raise _no_batch(batch)
        return found

    async def batches(self, tenant: str, *, after: str | None, limit: int) -> list[Batch]:
        """A tenant's batches, newest first, from the one after `after` on."""

        def page(store: Store) -> list[Batch]:
            found = (_counted(store, batch) for batch in store.batches.page(tenant, after=after, limit=limit))
            return [batch for batch in found if batch is not None]

        return await self._storage.do(page)

    async def cancel_batch(self, tenant: str, batch: str) -> Batch:
        """End a batch's open requests. Raises ModelStateError (409) for one that has no open ones."""
        await self.batch(tenant, batch)
        return await self.cancel_any_batch(batch)

    async def cancel_any_batch(self, batch: str) -> Batch:
        """The same for a batch of any tenant, as the daemon's owner may."""
        if await self._batches.call_off(batch, BatchState.CANCELLED) is None:
            state = (await self._any_batch(batch)).state
            raise ModelStateError(f"batch {batch} cannot be cancelled, it is {state}", code="batch_has_ended")
        return await self._any_batch(batch)

    # -- pieces ------------------------------------------------------------------------------------------------

    async def _any_batch(self, batch: str) -> Batch:
        found = await self._storage.do(lambda store: _counted(store, store.batches.get(batch)))
        if found is None:
            raise _no_batch(batch)
        return found

    def _check_room(self, store: Store, tenant: str, more: int) -> None:
        count = store.jobs.open_count(tenant)
        if count + more > self.settings.max_queued:
            raise QueueFullError(
                f"{count} of your jobs are queued, of {self.settings.max_queued} (jobs.max_queued); try again later",
                code="too_many_jobs",
                retry_after_s=FULL_RETRY_S,
            )

    def _job_ended(self, job: Job) -> None:
        self._batch_has_changed(job.batch_id)

    def _batch_has_changed(self, batch: str | None) -> None:
        if batch is not None:
            self._batches.look(batch)

    def _noted(self, view: JobView) -> JobView:
        """With why it waits."""
        if view.id in self._runner.unkept:
            return msgspec.structs.replace(view, note="done, but the disk has no room for its result")
        if view.state is not JobState.QUEUED:
            return view
        return msgspec.structs.replace(view, note=_as_note(self._runner.pauses.why(view.model, view.tenant)))


def _as_note(why: str) -> str:
    """Without the advice to try again at some time, which the daemon follows by itself."""
    return why.removesuffix("; try again later").removesuffix("; try again soon")


def _no_batch(batch: str) -> UnknownJobError:
    return UnknownJobError(f"no batch {batch[:100]!r}", code="batch_not_found")


def _counted(store: Store, batch: Batch | None) -> Batch | None:
    """With how its jobs stand, which once it has ended it knows itself."""
    if batch is None or batch.state.has_ended:
        return batch
    return msgspec.structs.replace(batch, counts=store.jobs.batch_counts(batch.id))

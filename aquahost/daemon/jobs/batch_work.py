"""Batches: from a file of requests to jobs, and from their results to files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aquahost.daemon.jobs.batch_files import BatchFiles, WriteLine
from aquahost.daemon.jobs.job_table import NewJob
from aquahost.daemon.jobs.store import Store
from aquahost.daemon.jobs.store_thread import StoreThread, reason
from aquahost.daemon.tasks import Tasks
from aquahost.errors import StorageError
from aquahost.log_privacy import OF_PROMPT
from aquahost.messages.jobs import Batch, BatchError, BatchState

logger = logging.getLogger(__name__)

MOST_ERRORS = 100
"""Of a batch's errors, so many are told."""
_OPEN = tuple(state for state in BatchState if not state.has_ended)


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """What a batch's input file holds: requests, or else what is wrong with it."""

    jobs: list[NewJob]
    errors: list[BatchError]


ReadInput = Callable[[Batch, Path], ReadBatch]
"""Reads a batch's input file; blocks. Raises OSError."""


class BatchWork:
    """Brings batches from one state to the next, in the background. What a killed daemon had begun is begun again."""

    def __init__(
        self,
        storage: StoreThread,
        *,
        read_input: ReadInput,
        write_line: WriteLine,
        wake: Callable[[], None],
        drop: Callable[[str], None],
        most_open: int,
        faults: list[str],
    ) -> None:
        """`wake` is called when there are new jobs, `drop` for each running job that is cancelled. A batch that would
        make more than `most_open` jobs of its tenant fails."""
        self._storage = storage
        self._read_input = read_input
        self._write_line = write_line
        self._wake = wake
        self._drop = drop
        self._most_open = most_open
        self._tasks = Tasks("the batches", faults)
        self._reading = asyncio.Semaphore(1)
        """Input files are large, and others need the threads and the cores."""
        self._at_work: set[str] = set()
        self._look_again: set[str] = set()

    async def start(self) -> None:
        """Go on with the batches that an earlier daemon left."""
        for batch in await self._storage.insist(lambda store: store.batches.in_states(_OPEN)) or ():
            self.look(batch.id)

    async def close(self) -> None:
        """Stop; what is half done is done again by the next daemon."""
        await self._tasks.cancel()

    def look(self, batch: str) -> None:
        """Something has changed for a batch: do what is to be done now, in the background."""
        if batch in self._at_work:
            self._look_again.add(batch)
        else:
            self._at_work.add(batch)
            self._tasks.begin(self._work(batch))

    async def call_off(self, batch: str, ends_as: BatchState) -> Batch | None:
        """End a batch's open jobs; None if it is past that. `ends_as`: cancelled or expired. Raises StorageError."""

        def cancel(store: Store) -> tuple[Batch | None, list[str]]:
            with store.transaction():
                moved = store.batches.move(batch, BatchState.CANCELLING, time.time(), ends_as=ends_as)
                return moved, store.jobs.cancel_batch(batch, time.time()) if moved else []

        moved, running = await self._storage.do(cancel)
        for job in running:
            self._drop(job)
        if moved is not None:
            self.look(batch)
        return moved

    async def expire(self, age_s: Callable[[float], float]) -> None:
        """Call off the batches whose time is over. Raises StorageError."""
        begun = (BatchState.VALIDATING, BatchState.IN_PROGRESS)
        for batch in await self._storage.do(lambda store: store.batches.in_states(begun)):
            if age_s(batch.created_at) > batch.window_s:
                await self.call_off(batch.id, BatchState.EXPIRED)

    async def _work(self, batch_id: str) -> None:
        try:
            while True:
                self._look_again.discard(batch_id)
                batch = await self._storage.insist(lambda store: store.batches.get(batch_id))
                if batch is not None and batch.state is BatchState.VALIDATING:
                    await self._validate(batch)
                elif batch is not None and not batch.state.has_ended:
                    await self._finish(batch)
                if batch_id not in self._look_again:
                    return
        finally:
            self._at_work.discard(batch_id)

    async def _validate(self, batch: Batch) -> None:
        """Queue the requests of a batch, or fail it."""
        path = self._storage.store.blobs.path(batch.input_file_id)
        try:
            async with self._reading:
                read = await asyncio.to_thread(self._read_input, batch, path)
        except OSError as error:
            wrong = BatchError(code="unreadable_file", message=f"the input file cannot be read: {reason(error)}")
            read = ReadBatch([], [wrong])
        except Exception:
            logger.exception("batch %s cannot be read", batch.id, extra=OF_PROMPT)
            wrong = BatchError(code="internal_error", message="an internal fault; see `aquahost logs`")
            read = ReadBatch([], [wrong])
        await self._storage.insist(lambda store: self._queue(store, batch, read))
        self._wake()

    def _queue(self, store: Store, batch: Batch, read: ReadBatch) -> None:
        errors = read.errors[:MOST_ERRORS]
        if not errors and store.jobs.open_count(batch.tenant) + len(read.jobs) > self._most_open:
            message = (
                f"jobs.max_queued ({self._most_open}) leaves no room for {len(read.jobs)} requests; try again later"
            )
            errors = [BatchError(code="too_many_jobs", message=message)]
        if errors:
            with store.transaction():
                store.batches.move(batch.id, BatchState.FAILED, time.time(), errors=errors)
        else:
            store.begin_batch(batch.id, read.jobs, time.time())

    async def _finish(self, batch: Batch) -> None:
        """Write a batch's files and end it, once all its jobs have ended."""
        ready = await self._storage.insist(lambda store: _finalizing(store, batch.id))
        while ready is not None:
            try:
                await self._write(ready)
                return
            except StorageError as error:
                await self._storage.pause(f"the files of {batch.id}: {error}")
                ready = await self._storage.insist(lambda store: store.batches.get(batch.id))

    async def _write(self, batch: Batch) -> None:
        files = await self._storage.do(lambda store: BatchFiles(store, batch, self._write_line))
        try:
            while await self._storage.do(lambda _: files.write_some()):
                pass
            written = await self._storage.do(lambda _: files.commit())
        except StorageError:
            await self._storage.do(lambda _: files.drop())
            raise
        await self._storage.do(lambda store: store.end_batch(batch, written, time.time()))


def _finalizing(store: Store, batch_id: str) -> Batch | None:
    """The batch, if nothing is left but to write its files."""
    batch = store.batches.get(batch_id)
    if batch is None or batch.state.has_ended or store.jobs.batch_is_open(batch_id):
        return None
    if batch.state is BatchState.FINALIZING:
        return batch
    return store.batches.move(batch_id, BatchState.FINALIZING, time.time())

"""The files that a batch ends with: its replies, and its errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from aquahost.daemon.jobs.job_table import EndedInBatch
from aquahost.daemon.jobs.store import Store
from aquahost.messages.jobs import Batch, JobState, StoredFile

WriteLine = Callable[[Batch, EndedInBatch, bytes | None], bytes]
"""A line of an output file, of a request and its reply (None where there is none)."""
OUTPUT = "batch_output"
"""The purpose of both files."""
_PAGE = 100
"""Requests that are written at once, between which others may ask the store."""


class _DroppedError(Exception):
    """The files are not wanted."""


class BatchFiles:
    """The two files while they are written. All methods are called in the store's thread, and block."""

    def __init__(self, store: Store, batch: Batch, write_line: WriteLine) -> None:
        """Open both; what was written before a failure is forgotten."""
        self._store = store
        self._batch = batch
        self._write_line = write_line
        self._last_seq = 0
        self._stack = ExitStack()
        try:
            self._output = self._stack.enter_context(store.blobs.draft(batch.output_file_id))
            self._errors = self._stack.enter_context(store.blobs.draft(batch.error_file_id))
        except BaseException:
            self.drop()
            raise

    def write_some(self) -> bool:
        """Write on; whether there is more."""
        page = self._store.jobs.ended_of_batch(self._batch.id, self._last_seq, _PAGE)
        for ended in page:
            reply = None
            if ended.state is JobState.COMPLETED:
                with suppress(FileNotFoundError):  # someone has removed it by hand
                    reply = self._store.blobs.read(ended.id)
            file = self._errors if reply is None else self._output
            file.write(self._write_line(self._batch, ended, reply))
            self._last_seq = ended.seq
        return bool(page)

    def commit(self) -> list[StoredFile]:
        """Have both on disk for good; returns those that hold something."""
        self._stack.close()
        files = []
        for name, what in ((self._batch.output_file_id, "output"), (self._batch.error_file_id, "error")):
            nbytes = self._store.blobs.path(name).stat().st_size
            if nbytes:
                file = StoredFile(
                    id=name,
                    tenant=self._batch.tenant,
                    name=f"{self._batch.id}_{what}.jsonl",
                    purpose=OUTPUT,
                    nbytes=nbytes,
                    created_at=int(time.time()),
                )
                files.append(file)
            else:
                self._store.blobs.remove(name)
        return files

    def drop(self) -> None:
        """Forget both."""
        with suppress(_DroppedError, OSError):
            self._stack.__exit__(_DroppedError, _DroppedError(), None)

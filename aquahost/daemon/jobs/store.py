"""Jobs, files and batches on disk: rows in SQLite, contents in files of their own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aquahost.config.paths import private_dir
from aquahost.daemon.jobs.blobs import Blobs
from aquahost.daemon.jobs.database import Database
from aquahost.daemon.jobs.file_table import BatchTable, FileTable
from aquahost.daemon.jobs.job_table import Job, JobTable, NewJob
from aquahost.daemon.jobs.names import is_name
from aquahost.daemon.jobs.retention import surplus
from aquahost.errors import StartError
from aquahost.messages.jobs import Batch, BatchState, JobView, StoredFile


class Reply(msgspec.Struct, frozen=True):
    """What the API answers to a job's request."""

    media_type: str
    data: bytes


CONTENTS = "contents"
"""The folder of results and files, within that of the jobs."""


class Store:
    """Owns the folder: jobs.sqlite, its lock, and the folder of contents. All methods block, and raise sqlite3.Error or
    OSError; none may be called by two threads at once.

    A content is on disk before a row says so, and goes after its row: whenever the process is killed, a row that tells
    of a content is right, and a content without a row is cleared away at the next start.
    """

    def __init__(self, folder: Path) -> None:
        """Take the folder, making it if needed (0700). Raises StartError if another daemon has it, or if it can't be
        used."""
        private_dir(folder)
        self._lock_fd = _locked(folder)
        try:
            self._database = Database(folder / "jobs.sqlite")
            self.blobs = Blobs(private_dir(folder / CONTENTS))
        except BaseException:
            os.close(self._lock_fd)
            raise
        self.jobs = JobTable(self._database)
        self.files = FileTable(self._database)
        self.batches = BatchTable(self._database)

    def close(self) -> None:
        """Let another daemon have the folder."""
        self._database.close()
        os.close(self._lock_fd)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of rows within become durable together, or none."""
        with self._database.transaction():
            yield

    def recover(self, now_s: float) -> int:
        """Clear up after a daemon that was killed; returns how many jobs it had running, which wait again."""
        with self.transaction():
            interrupted = self.jobs.recover(now_s)
        self.blobs.keep_only({*self.jobs.with_results(), *self.files.ids()})
        return interrupted

    # -- jobs --------------------------------------------------------------------------------------------------

    def submit(self, jobs: Iterable[NewJob], now_s: float) -> list[JobView]:
        """Queue jobs, all or none."""
        with self.transaction():
            ids = self.jobs.add(jobs, now_s)
        return [view for job in ids if (view := self.jobs.view(job))]

    def keep_result(self, job: Job, reply: Reply, now_s: float) -> bool:
        """Keep the one result of a running job, and end it so; does nothing for one that does not run any more."""
        view = self.jobs.view(job.id)
        if view is None or view.state.has_ended:
            return False
        self.blobs.write(job.id, reply.data)
        kept = False
        try:
            kept = self.jobs.complete(job.id, reply.media_type, len(reply.data), now_s)
        finally:
            if not kept:  # whoever cancels the job now must not leave its reply behind
                self.blobs.remove(job.id)
        return kept

    # -- files -------------------------------------------------------------------------------------------------

    def remove_file(self, file: str) -> None:
        """Forget a file and its content."""
        self.files.remove(file)
        self.blobs.remove(file)

    # -- batches -----------------------------------------------------------------------------------------------

    def begin_batch(self, batch: str, jobs: Iterable[NewJob], now_s: float) -> bool:
        """Queue the jobs of a batch that is being validated; does nothing for one that no longer is."""
        with self.transaction():
            if self.batches.move(batch, BatchState.IN_PROGRESS, now_s) is None:
                return False
            self.jobs.add(jobs, now_s)
        return True

    def end_batch(self, batch: Batch, files: list[StoredFile], now_s: float) -> None:
        """End a batch whose files are on disk: its jobs and their results go, since all of them lie in these."""
        with self.transaction():
            moved = self.batches.move(
                batch.id,
                batch.ends_as,
                now_s,
                counts=self.jobs.batch_counts(batch.id),
                has_output=any(file.id == batch.output_file_id for file in files),
                has_errors=any(file.id == batch.error_file_id for file in files),
            )
            if moved is None:
                return
            for file in files:
                self.files.add(file)
            results = self.jobs.remove_batch(batch.id)
        for name in results:
            self.blobs.remove(name)

    # -- retention ---------------------------------------------------------------------------------------------

    def sweep(self, *, age_s: Callable[[float], float], keep_s: float, max_bytes: int) -> int:
        """Remove what need not be kept any longer; returns how much."""
        kept = [*self.jobs.ended(), *self.batches.ended(), *self.files.unused()]
        gone = surplus(kept, age_s=age_s, keep_s=keep_s, room_bytes=max_bytes)
        removers = {"job": self.jobs.remove, "batch": self.batches.remove, "file": self.files.remove}
        with self.transaction():
            for one in gone:
                removers[one.kind](one.id)
        for one in gone:
            if one.kind != "batch" and is_name(one.id):
                self.blobs.remove(one.id)
        self._database.forget()
        return len(gone)


def _locked(folder: Path) -> int:
    try:
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot write in {folder}: {error.strerror}; set AQUAHOST_STATE_DIR") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise StartError(
            f"another daemon keeps its jobs in {folder}; set AQUAHOST_STATE_DIR to start a second one beside it"
        ) from error
    return fd

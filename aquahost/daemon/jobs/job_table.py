"""The rows of jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from aquahost.daemon.jobs.database import Database
from aquahost.daemon.jobs.names import job_id
from aquahost.daemon.jobs.retention import Kept
from aquahost.daemon.jobs.states import JOB_COMES_FROM
from aquahost.messages.jobs import BatchCounts, JobState, JobView
from aquahost.messages.prompts import ErrorDetail

_VIEW = (
    "id, tenant, model, endpoint, state, created_at, started_at, ended_at, attempts, error, media_type, result_bytes, "
    "batch_id"
)
_OPEN = "('queued', 'running')"
MOST_KILLS = 20
"""Daemons that may be killed while a job runs; those that end by themselves do not count."""
_QUEUED_MODELS = """
WITH RECURSIVE found (model) AS (
  SELECT min(model) FROM jobs WHERE state = 'queued'
  UNION ALL
  SELECT (SELECT min(model) FROM jobs WHERE state = 'queued' AND model > found.model) FROM found WHERE model IS NOT NULL
)
SELECT model FROM found WHERE model IS NOT NULL
"""
"""As SELECT DISTINCT, but from one model to the next by the index, past all jobs of a model at once."""


_OLDEST_OF_TENANTS = """
WITH RECURSIVE found (tenant) AS (
  SELECT min(tenant) FROM jobs WHERE state = 'queued' AND model = ?1
  UNION ALL
  SELECT (SELECT min(tenant) FROM jobs WHERE state = 'queued' AND model = ?1 AND tenant > found.tenant)
  FROM found WHERE tenant IS NOT NULL
)
SELECT tenant,
  (SELECT min(seq) FROM jobs WHERE state = 'queued' AND model = ?1 AND tenant = found.tenant),
  (SELECT count(*) FROM jobs WHERE state = 'running' AND model = ?1 AND tenant = found.tenant)
FROM found WHERE tenant IS NOT NULL
"""
"""Of each tenant with queued jobs of a model: its oldest one, and how many of its jobs of that model run."""


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be answered some time, already validated."""

    tenant: str
    model: str
    endpoint: str
    body: bytes
    """The JSON body that `endpoint` takes."""
    batch_id: str | None = None
    custom_id: str | None = None
    """Its name within the batch."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job that has been given to a runner."""

    id: str
    tenant: str
    model: str
    endpoint: str
    body: bytes
    batch_id: str | None


class EndedInBatch(msgspec.Struct, frozen=True, kw_only=True):
    """How one request of a batch has ended."""

    seq: int
    id: str
    custom_id: str
    state: JobState
    error: ErrorDetail | None


class JobTable:
    """Methods block, and raise sqlite3.Error. Those that change a job return whether it was in a state to do so."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._claims = 0
        self._last_claim: dict[tuple[str, str], int] = {}
        """Of each model and tenant: the number of the last claim."""

    def add(self, jobs: Iterable[NewJob], now_s: float) -> list[str]:
        """Queue jobs, within the caller's transaction; returns their ids."""
        ids: list[str] = []

        def rows() -> Iterable[Sequence[Any]]:
            for job in jobs:
                ids.append(job_id())
                yield ids[-1], job.tenant, job.model, job.endpoint, job.body, now_s, job.batch_id, job.custom_id

        self._database.run_many(
            "INSERT INTO jobs (id, tenant, model, endpoint, body, state, created_at, batch_id, custom_id) "
            "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
            iter(rows()),
        )
        return ids

    def view(self, job: str) -> JobView | None:
        """A job, if there is one of that id."""
        rows = self._database.rows(f"SELECT {_VIEW} FROM jobs WHERE id = ?", (job,))
        return _view(rows[0]) if rows else None

    def views(self, states: Collection[JobState], limit: int) -> list[JobView]:
        """The newest `limit` jobs in these states, oldest first."""
        rows = self._database.rows(
            f"SELECT {_VIEW} FROM jobs WHERE state IN ({_marks(states)}) ORDER BY seq DESC LIMIT ?", (*states, limit)
        )
        return [_view(row) for row in reversed(rows)]

    def open_count(self, tenant: str) -> int:
        """How many of a tenant's have not ended."""
        rows = self._database.rows(f"SELECT count(*) FROM jobs WHERE state IN {_OPEN} AND tenant = ?", (tenant,))
        count: int = rows[0][0]
        return count

    def counts(self) -> dict[str, int]:
        """How many there are, by state."""
        return dict(self._database.rows("SELECT state, count(*) FROM jobs GROUP BY state"))

    # -- for the runner ----------------------------------------------------------------------------------------

    def recover(self, now_s: float) -> int:
        """Queue again what ran when the last daemon was killed; returns how many. What has run in MOST_KILLS daemons
        that were killed fails: it may be what kills them."""
        message = f"given up: {MOST_KILLS} daemons were killed while it ran"
        error = msgspec.json.encode(ErrorDetail(message=message, status=500, code="too_many_kills"))
        self._database.run("UPDATE jobs SET kills = kills + 1 WHERE state = 'running'")
        self._database.run(
            "UPDATE jobs SET state = 'failed', ended_at = ?, error = ? WHERE state = 'running' AND kills >= ?",
            (now_s, error, MOST_KILLS),
        )
        return self._database.run("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def queued_models(self) -> list[str]:
        """The models that queued jobs are for."""
        return [name for (name,) in self._database.rows(_QUEUED_MODELS)]

    def claim(self, model: str, without: Collection[str], limit: int, now_s: float) -> list[Job]:
        """Mark queued jobs of a model as running: one after the other the oldest of the tenant that has the fewest
        running, and of several such that had its turn longest ago; but for those of the tenants `without`."""
        jobs: list[Job] = []
        with self._database.transaction():
            while len(jobs) < limit and (job := self._next(model, without)) is not None:
                self._move(job.id, JobState.RUNNING, "started_at = ?, attempts = attempts + 1", (now_s,))
                jobs.append(job)
        return jobs

    def _next(self, model: str, without: Collection[str]) -> Job | None:
        rows = self._database.rows(_OLDEST_OF_TENANTS, (model,))
        oldest = [
            (running, self._last_claim.get((model, tenant), 0), seq, tenant)
            for tenant, seq, running in rows
            if tenant not in without
        ]
        if not oldest:
            return None
        _, _, seq, tenant = min(oldest)
        self._claims += 1
        self._last_claim[model, tenant] = self._claims
        ((id_, tenant, model, endpoint, body, batch),) = self._database.rows(
            "SELECT id, tenant, model, endpoint, body, batch_id FROM jobs WHERE seq = ?", (seq,)
        )
        return Job(id=id_, tenant=tenant, model=model, endpoint=endpoint, body=body, batch_id=batch)

    def requeue(self, job: str, *, refused: bool) -> bool:
        """Queue a running job again; one that was `refused` had not begun."""
        attempts = "attempts = attempts - 1, started_at = NULL" if refused else "attempts = attempts"
        return self._move(job, JobState.QUEUED, attempts)

    def complete(self, job: str, media_type: str, nbytes: int, now_s: float) -> bool:
        """Note a running job's result, which is on disk."""
        return self._move(
            job, JobState.COMPLETED, "ended_at = ?, media_type = ?, result_bytes = ?", (now_s, media_type, nbytes)
        )

    def fail(self, job: str, error: ErrorDetail, now_s: float) -> bool:
        """End a job with an error."""
        return self._move(job, JobState.FAILED, "ended_at = ?, error = ?", (now_s, msgspec.json.encode(error)))

    def cancel(self, job: str, now_s: float) -> bool:
        """End a job that nobody wants any more."""
        return self._move(job, JobState.CANCELLED, "ended_at = ?", (now_s,))

    # -- for batches -------------------------------------------------------------------------------------------

    def cancel_batch(self, batch: str, now_s: float) -> list[str]:
        """End all open jobs of a batch; returns those that ran."""
        running = self._database.rows("SELECT id FROM jobs WHERE batch_id = ? AND state = 'running'", (batch,))
        self._database.run(
            f"UPDATE jobs SET state = 'cancelled', ended_at = ? WHERE batch_id = ? AND state IN {_OPEN}",
            (now_s, batch),
        )
        return [job for (job,) in running]

    def batch_is_open(self, batch: str) -> bool:
        """Whether a batch has jobs that have not ended."""
        return bool(
            self._database.rows(f"SELECT 1 FROM jobs WHERE batch_id = ? AND state IN {_OPEN} LIMIT 1", (batch,))
        )

    def batch_counts(self, batch: str) -> BatchCounts:
        """How a batch's jobs stand; those cancelled count as failed."""
        rows = self._database.rows("SELECT state, count(*) FROM jobs WHERE batch_id = ? GROUP BY state", (batch,))
        by_state = dict(rows)
        failed = by_state.get("failed", 0) + by_state.get("cancelled", 0)
        return BatchCounts(total=sum(by_state.values()), completed=by_state.get("completed", 0), failed=failed)

    def ended_of_batch(self, batch: str, after_seq: int, limit: int) -> list[EndedInBatch]:
        """A batch's jobs in the order of its lines, from the one after `after_seq` on."""
        rows = self._database.rows(
            "SELECT seq, id, custom_id, state, error FROM jobs WHERE batch_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (batch, after_seq, limit),
        )
        return [
            EndedInBatch(seq=seq, id=id_, custom_id=custom_id, state=JobState(state), error=_error(error))
            for seq, id_, custom_id, state, error in rows
        ]

    def remove_batch(self, batch: str) -> list[str]:
        """Forget a batch's jobs; returns those that had results."""
        rows = self._database.rows("SELECT id FROM jobs WHERE batch_id = ? AND state = 'completed'", (batch,))
        self._database.run("DELETE FROM jobs WHERE batch_id = ?", (batch,))
        return [job for (job,) in rows]

    # -- for retention -----------------------------------------------------------------------------------------

    def ended(self) -> list[Kept]:
        """All ended jobs but those of batches, which go with these."""
        rows = self._database.rows(
            f"SELECT id, tenant, ended_at, result_bytes FROM jobs WHERE batch_id IS NULL AND state NOT IN {_OPEN}"
        )
        return [Kept("job", job, tenant, ended_at, nbytes) for job, tenant, ended_at, nbytes in rows]

    def remove(self, job: str) -> None:
        """Forget a job."""
        self._database.run("DELETE FROM jobs WHERE id = ?", (job,))

    def with_results(self) -> list[str]:
        """The jobs whose results are on disk."""
        return [job for (job,) in self._database.rows("SELECT id FROM jobs WHERE state = 'completed'")]

    def _move(self, job: str, to: JobState, assignments: str, parameters: Sequence[Any] = ()) -> bool:
        """Change a job's state, if it may be changed so."""
        origins = sorted(JOB_COMES_FROM[to])
        return bool(
            self._database.run(
                f"UPDATE jobs SET state = ?, {assignments} WHERE id = ? AND state IN ({_marks(origins)})",
                (to, *parameters, job, *origins),
            )
        )


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _error(data: bytes | None) -> ErrorDetail | None:
    return msgspec.json.decode(data, type=ErrorDetail) if data is not None else None


def _view(row: tuple[Any, ...]) -> JobView:
    id_, tenant, model, endpoint, state, created_at, started_at, ended_at, attempts, error, media, nbytes, batch = row
    return JobView(
        id=id_,
        tenant=tenant,
        model=model,
        endpoint=endpoint,
        state=JobState(state),
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        attempts=attempts,
        error=_error(error),
        media_type=media,
        result_bytes=nbytes,
        batch_id=batch,
    )

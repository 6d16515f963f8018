"""What CLI and terminal UI ask a daemon about durable jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aquahost.connection import Connection, decoded
from aquahost.errors import UnknownJobError
from aquahost.messages.jobs import JobList, JobState, JobView

_JOB_ID = re.compile(r"[A-Za-z0-9_-]+")


class JobCalls:
    """Every method raises UnreachableError if no daemon answers, and RequestError with the API's words."""

    def __init__(self, daemon: Connection) -> None:
        self._daemon = daemon

    def submit(self, endpoint: str, body: dict[str, Any]) -> JobView:
        """Queue what `endpoint` would answer at once; it is on disk when this returns. None leaves a field out."""
        given = {key: value for key, value in body.items() if value is not None}
        reply = self._daemon.ask("POST", "/control/jobs", body={"endpoint": endpoint, "body": given})
        return decoded(reply.content, JobView)

    def listed(self, states: Sequence[JobState] = (), limit: int = 1000) -> list[JobView]:
        """The newest jobs in these states (or in any), oldest first."""
        query = "&".join([f"limit={limit}", *(f"state={state}" for state in states)])
        return decoded(self._daemon.ask("GET", f"/control/jobs?{query}").content, JobList).jobs

    def get(self, job: str) -> JobView:
        """One job. Raises UnknownJobError."""
        return decoded(self._daemon.ask("GET", f"/control/jobs/{_checked(job)}").content, JobView)

    def cancel(self, job: str) -> JobView:
        """End a job. Raises UnknownJobError, and ModelStateError for one that has ended."""
        return decoded(self._daemon.ask("POST", f"/control/jobs/{_checked(job)}/cancel").content, JobView)

    def cancel_batch(self, batch: str) -> None:
        """End a batch of whatever tenant. Raises UnknownJobError, and ModelStateError for one that has ended."""
        self._daemon.ask("POST", f"/control/batches/{_checked(batch)}/cancel")

    def result(self, job: str) -> bytes:
        """What a completed job's endpoint has answered. Raises UnknownJobError, and ModelStateError for one that is not
        completed."""
        return self._daemon.ask("GET", f"/control/jobs/{_checked(job)}/result").content


def _checked(job: str) -> str:
    """An id as part of a path. Raises UnknownJobError for what no job can have as its id."""
    if not _JOB_ID.fullmatch(job):
        raise UnknownJobError(f"no job {job!r}; see `aquahost jobs`", code="job_not_found")
    return job

"""Durable jobs as programs see them: what was asked for, how it stands, and batches of them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aquahost.messages.prompts import ErrorDetail


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """It waits for its turn; also again, after what ran it has ended."""
    RUNNING = "running"
    COMPLETED = "completed"
    """Its one result is on disk."""
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether it stays so for ever."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job, without what it asks. Times are seconds since 1970."""

    id: str
    tenant: str
    model: str
    endpoint: str
    """The route of the API that would answer the same at once, like "/v1/chat/completions"."""
    state: JobState
    created_at: float
    started_at: float | None = None
    """When it was last begun."""
    ended_at: float | None = None
    attempts: int = 0
    """How often it was begun; more than once if the daemon ended meanwhile."""
    error: ErrorDetail | None = None
    """Set exactly when it has failed."""
    media_type: str | None = None
    """Of its result."""
    result_bytes: int = 0
    batch_id: str | None = None
    note: str = ""
    """Why it has to wait, where that is known; one line."""


class JobList(msgspec.Struct, frozen=True):
    """Jobs, oldest first."""

    jobs: list[JobView]


class BatchState(StrEnum):
    """Where a batch stands, in OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    """A line was wrong; none was run."""
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    """All its jobs have ended; its files are being written."""
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether it stays so for ever."""
        return self in (BatchState.FAILED, BatchState.COMPLETED, BatchState.EXPIRED, BatchState.CANCELLED)


class BatchError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a batch's input file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None
    """Number of the line at fault, from 1."""


class BatchCounts(msgspec.Struct, frozen=True):
    """How many of a batch's requests there are, and how they ended."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A file of requests that run as jobs. Times are whole seconds since 1970."""

    id: str
    tenant: str
    endpoint: str
    input_file_id: str
    output_file_id: str
    """The file that its replies are to lie in; there is none as long as `has_output` is false."""
    error_file_id: str
    completion_window: str
    window_s: float
    state: BatchState
    created_at: int
    metadata: dict[str, str] | None = None
    models: list[str] | None = None
    """Those that whoever sent it may use; None means all."""
    errors: list[BatchError] = []
    counts: BatchCounts = BatchCounts()
    has_output: bool = False
    has_errors: bool = False
    times: dict[str, int] = {}
    """When it came into a state, by the state's name."""
    ends_as: BatchState = BatchState.COMPLETED
    """What it will be once its jobs have ended: completed, cancelled or expired."""


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a tenant has sent or may fetch."""

    id: str
    tenant: str
    name: str
    """As its sender calls it; for people only."""
    purpose: str
    """"batch" for input, "batch_output" for what batches write."""
    nbytes: int
    created_at: int

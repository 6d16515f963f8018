"""Which way jobs and batches may go. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from aquahost.messages.jobs import BatchState, JobState

JOB_COMES_FROM: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING}),
    JobState.RUNNING: frozenset({JobState.QUEUED}),
    JobState.COMPLETED: frozenset({JobState.RUNNING}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.RUNNING}),
    JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.RUNNING}),
}
"""From which states a job may come into each; what has ended stays."""

BATCH_COMES_FROM: Mapping[BatchState, frozenset[BatchState]] = {
    BatchState.VALIDATING: frozenset(),
    BatchState.FAILED: frozenset({BatchState.VALIDATING}),
    BatchState.IN_PROGRESS: frozenset({BatchState.VALIDATING}),
    BatchState.CANCELLING: frozenset({BatchState.VALIDATING, BatchState.IN_PROGRESS}),
    BatchState.FINALIZING: frozenset({BatchState.IN_PROGRESS, BatchState.CANCELLING}),
    BatchState.COMPLETED: frozenset({BatchState.FINALIZING}),
    BatchState.EXPIRED: frozenset({BatchState.FINALIZING}),
    BatchState.CANCELLED: frozenset({BatchState.FINALIZING}),
}
"""From which states a batch may come into each."""

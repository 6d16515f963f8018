"""Jobs on the command line: their ids, and how they stand in words."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.output import DIM, GREEN, RED, YELLOW, one_line
from aquahost.errors import AquahostError
from aquahost.messages.jobs import JobState, JobView
from aquahost.units import format_bytes

JOB_PREFIX = "job_"
BATCH_PREFIX = "batch_"
"""What the ids of jobs and of batches begin with, and those of prompts do not."""
COLOURS = {
    JobState.QUEUED: YELLOW,
    JobState.RUNNING: GREEN,
    JobState.COMPLETED: DIM,
    JobState.FAILED: RED,
    JobState.CANCELLED: DIM,
}


def complete_job(incomplete: str) -> list[str]:
    """Ids of jobs that begin so, for the shell; none if no daemon answers at once."""
    from aquahost.client import Client

    try:
        with Client(timeout_s=0.5) as client:
            return [job.id for job in client.jobs.listed() if job.id.startswith(incomplete)]
    except AquahostError:
        return []


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The id that `aquahost submit` wrote.", autocompletion=complete_job, show_default=False
    ),
]
JobsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ID", help="Ids that `aquahost submit` wrote.", autocompletion=complete_job, show_default=False
    ),
]


def note(job: JobView) -> str:
    """What else is to be known: why it failed or waits, how large its result is."""
    if job.error is not None:
        return one_line(job.error.message)
    if job.state is JobState.COMPLETED:
        return format_bytes(job.result_bytes)
    again = f"begun {job.attempts}x" if job.attempts > 1 else ""
    return "; ".join(part for part in (again, one_line(job.note)) if part)

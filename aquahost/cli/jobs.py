"""`aquahost jobs`: the durable jobs."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aquahost.cli.job_words import COLOURS, note
from aquahost.cli.output import (
    Cell,
    Column,
    Form,
    FormOption,
    NamesOption,
    say,
    write_data,
    write_line,
    write_table,
)
from aquahost.cli.surroundings import surroundings
from aquahost.messages.jobs import JobState, JobView
from aquahost.units import format_seconds

_COLUMNS = (
    Column("ID"),
    Column("MODEL"),
    Column("TENANT"),
    Column("STATE"),
    Column("AGE", right=True),
    Column("TOOK", right=True),
    Column("NOTE"),
)


def jobs(
    context: typer.Context,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", help="Only jobs in this state; can be given often.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Only so many, the newest.")] = 1000,
    output: FormOption = Form.TABLE,
    quiet: NamesOption = False,
) -> None:
    """List the jobs.

    STATE is queued, running, completed, failed or cancelled. TOOK is the time from a job's last beginning to its end.
    Those that have ended are kept for jobs.keep_s. The requests of a batch are listed until the batch has ended.

    Examples:

      aquahost jobs

      aquahost jobs --state queued --state running

      aquahost jobs --state failed -o json    # also why

      aquahost jobs --state queued -q | xargs aquahost cancel
    """
    with surroundings(context).client() as client:
        found = client.jobs.listed(state or (), limit)
    if quiet:
        for job in found:
            write_line(job.id)
    elif output is not Form.TABLE:
        write_data(found, output)
    else:
        now = time.time()
        write_table(_COLUMNS, [_row(job, now) for job in found])
        if not found:
            say("no jobs")


def _row(job: JobView, now: float) -> list[Cell | str]:
    ended = job.started_at is not None and job.ended_at is not None
    return [
        job.id,
        job.model,
        job.tenant,
        Cell(str(job.state), COLOURS[job.state]),
        format_seconds(max(0.0, now - job.created_at)),
        format_seconds(max(0.0, (job.ended_at or 0) - (job.started_at or 0))) if ended else "-",
        note(job),
    ]

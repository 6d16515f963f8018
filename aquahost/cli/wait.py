"""`aquahost wait`: until jobs have ended."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.durations import seconds
from aquahost.cli.exits import ExitCode
from aquahost.cli.job_words import JobsArgument, note
from aquahost.cli.output import say
from aquahost.cli.surroundings import surroundings
from aquahost.messages.jobs import JobState, JobView

_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 2.0


def wait(
    context: typer.Context,
    ids: JobsArgument,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Wait no longer than this, like 5m.")] = None,
) -> None:
    """Wait until jobs have ended.

    Says on stderr how they stand. Ends with 0 once all are completed, with 1 if one has failed or was cancelled (or the
    time is over), and with 4 if there is no such job.

    Examples:

      aquahost wait job_0f3b5c7d9e1a2b4c6d8e0f12

      aquahost jobs --state queued -q | xargs aquahost wait --timeout 10m
    """
    around = surroundings(context)
    deadline_s = around.now_s() + seconds(timeout, "--timeout") if timeout else float("inf")
    look_s = _FIRST_LOOK_S
    open_ids = list(dict.fromkeys(ids))
    told = _Told(len(open_ids))
    is_bad = False
    with around.client() as client:
        while True:
            looked = [client.jobs.get(job) for job in open_ids]
            open_ids = [job.id for job in looked if not job.state.has_ended]
            is_bad = told.tell(looked) or is_bad
            if not open_ids:
                break
            if around.now_s() >= deadline_s:
                say(f"aquahost: still not ended: {', '.join(open_ids)}")
                raise typer.Exit(ExitCode.FAILED)
            around.sleep(look_s)
            look_s = min(_LONGEST_LOOK_S, look_s * 1.5)
    raise typer.Exit(ExitCode.FAILED if is_bad else ExitCode.OK)


class _Told:
    """Says what has changed since it last looked."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._ended = 0
        self._said: dict[str, str] = {}

    def tell(self, looked: list[JobView]) -> bool:
        """Whether one of these has ended badly."""
        is_bad = False
        for job in looked:
            self._ended += job.state.has_ended
            of = f" ({self._ended} of {self._total})" if job.state.has_ended and self._total > 1 else ""
            more = f": {note(job)}" if note(job) else ""
            line = f"{job.id}: {job.state}{more}"
            if self._said.get(job.id) != line:
                say(f"{line}{of}")
                self._said[job.id] = line
            is_bad = is_bad or job.state in (JobState.FAILED, JobState.CANCELLED)
        return is_bad

"""`aquahost cancel`: end live prompts, jobs and batches."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.exits import ExitCode, exit_code_of
from aquahost.cli.job_words import BATCH_PREFIX, JOB_PREFIX
from aquahost.cli.models import complete_prompt
from aquahost.cli.output import say, write_line
from aquahost.cli.surroundings import surroundings
from aquahost.errors import RequestError


def cancel(
    context: typer.Context,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID",
            help="Ids as `aquahost queue` and `aquahost jobs` list them, or a batch's.",
            autocompletion=complete_prompt,
            show_default=False,
        ),
    ],
) -> None:
    """Cancel live prompts, jobs and batches.

    They may be any tenant's. Writes the ids of those that were cancelled. Ends with 4 if there is no such job or
    batch, or no such prompt live (any more), and with 1 if a job or batch has ended already; the others are cancelled
    all the same.

    Examples:

      aquahost cancel 3f9c1e job_0f3b5c7d9e1a2b4c6d8e0f12

      aquahost cancel batch_5d1f07c2b9e84a6f3c0d9b21

      aquahost queue -q | xargs aquahost cancel
    """
    code = ExitCode.OK
    with surroundings(context).client() as client:
        for prompt_id in ids:
            try:
                if prompt_id.startswith(JOB_PREFIX):
                    client.jobs.cancel(prompt_id)
                elif prompt_id.startswith(BATCH_PREFIX):
                    client.jobs.cancel_batch(prompt_id)
                else:
                    client.cancel(prompt_id)
            except RequestError as error:
                say(f"aquahost: {error}")
                code = max(code, exit_code_of(error))
            else:
                write_line(prompt_id)
    raise typer.Exit(code)

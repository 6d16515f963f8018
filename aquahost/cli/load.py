"""`aquahost load`: models into GPU memory."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.exits import ExitCode
from aquahost.cli.follow import load_progress, report_failures, wait_loaded
from aquahost.cli.models import ModelsArgument, find_models
from aquahost.cli.output import say
from aquahost.cli.surroundings import surroundings


def load(
    context: typer.Context,
    names: ModelsArgument,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until they are ready, showing progress.")] = True,
) -> None:
    """Load models and wait until they are ready.

    Ends with 1 if one fails, and says why. A model that has failed before is tried again.

    Examples:

      aquahost load chat

      aquahost load chat paint --no-wait
    """
    around = surroundings(context)
    with around.client() as client:
        find_models(client.snapshot(), names)
        for name in names:
            client.load(name)
        if not wait:
            say("loading; `aquahost ps` shows how far")
            return
        with load_progress() as show:
            models = wait_loaded(client, names, show, around.sleep)
    if report_failures(models):
        raise typer.Exit(ExitCode.FAILED)

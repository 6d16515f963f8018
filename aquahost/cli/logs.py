"""`aquahost logs`: what daemon and workers wrote."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from aquahost.cli.models import complete_model
from aquahost.cli.output import say, write
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.config.paths import log_file
from aquahost.errors import UnreachableError


def logs(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model; the daemon itself without it.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until interrupted.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 200,
) -> None:
    """Show the log of the daemon or of a model.

    Where no daemon answers, what the last one left is shown.

    Examples:

      aquahost logs -f

      aquahost logs chat -n 50
    """
    around = surroundings(context)
    try:
        with around.client() as client:
            for text in client.logs(model, lines=lines, follow=follow):
                write(text)
                sys.stdout.flush()
    except UnreachableError:
        path = _left_behind(around, model)
        if follow or path is None:
            raise
        say(f"no daemon answers; this is what the last one left in {path}")
        with path.open(encoding="utf-8", errors="replace") as log:
            write("".join(deque(log, maxlen=lines)))


def _left_behind(around: Surroundings, model: str | None) -> Path | None:
    path = log_file(model, around.env)
    return path if path.is_file() else None

"""`aquahost unload`: models out of GPU memory."""

from __future__ import annotations

from typing import Annotated

import typer

from aquahost.cli.durations import seconds
from aquahost.cli.models import ModelsArgument, find_models
from aquahost.cli.output import say
from aquahost.cli.surroundings import surroundings


def unload(
    context: typer.Context,
    names: ModelsArgument,
    drain: Annotated[str, typer.Option(metavar="TIME", help="Time that live prompts have to end.")] = "30s",
    now: Annotated[bool, typer.Option("--now", help="Cancel live prompts at once.")] = False,
) -> None:
    """Unload models, giving their prompts time to end.

    Examples:

      aquahost unload paint

      aquahost unload chat --drain 5m
    """
    drain_s = 0.0 if now else seconds(drain, "--drain")
    with surroundings(context).client() as client:
        find_models(client.snapshot(), names)
        for name in dict.fromkeys(names):
            client.unload(name, drain_s)
            say(f"{name}: unloaded")

"""`aquahost reload`: a changed models.yaml, taken over while the daemon serves on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aquahost.cli.output import RED, YELLOW, Cell, Column, Form, FormOption, one_line, say, write_data, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.messages.reloaded import Effect

_COLOURS = {Effect.RESTART: YELLOW, Effect.UNLOADS: RED}


def reload(
    context: typer.Context,
    models: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Another models.yaml, read from now on.", show_default=False),
    ] = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Take over a changed models.yaml without a restart.

    Only what has changed is touched: new models load, removed ones end once their prompts have, changed ones are loaded
    anew; tenants and limits hold at once. What needs a restart is listed and left as it is. With a mistake in the file
    it ends with 2, says what `aquahost config check` would, and changes nothing. SIGHUP does the same.

    Examples:

      aquahost reload

      aquahost reload --models ./models.yaml -o json
    """
    with surroundings(context).client() as client:
        reloaded = client.reload(Path(models).absolute() if models is not None else None)
    if output is not Form.TABLE:
        write_data(reloaded, output)
        return
    if not reloaded.changes:
        say(f"{reloaded.file}: nothing has changed")
        return
    say(f"{reloaded.file}: taken over; `aquahost ps` shows models that drain or load")
    columns = (Column("KEY"), Column("CHANGE"), Column("EFFECT"))
    write_table(
        columns,
        [
            [change.key, one_line(change.change), Cell(str(change.effect), _COLOURS.get(change.effect, ""))]
            for change in reloaded.changes
        ],
    )

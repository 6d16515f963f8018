"""`aquahost queue`: the live prompts."""

from __future__ import annotations

import typer

from aquahost.cli.models import SomeModelsArgument, find_models
from aquahost.cli.output import (
    GREEN,
    YELLOW,
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
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import PromptView
from aquahost.units import format_seconds

_COLUMNS = (
    Column("ID"),
    Column("MODEL"),
    Column("TENANT"),
    Column("STATE"),
    Column("AGE", right=True),
    Column("FIRST", right=True),
    Column("DONE"),
)


def queue(
    context: typer.Context,
    names: SomeModelsArgument = None,
    output: FormOption = Form.TABLE,
    quiet: NamesOption = False,
) -> None:
    """List the live prompts.

    FIRST is the time to the first token or step. What was asked is never shown.

    Examples:

      aquahost queue chat

      aquahost queue -q | xargs aquahost cancel
    """
    with surroundings(context).client() as client:
        snapshot = client.snapshot()
    wanted = {model.name for model in (find_models(snapshot, names) if names else snapshot.models)}
    prompts = [prompt for prompt in snapshot.prompts if prompt.model in wanted]
    if quiet:
        for prompt in prompts:
            write_line(prompt.id)
    elif output is not Form.TABLE:
        write_data(prompts, output)
    else:
        write_table(_COLUMNS, [_row(prompt) for prompt in prompts])
        if not prompts:
            say("no prompts")


def _row(prompt: PromptView) -> list[Cell | str]:
    running = prompt.state in (PromptState.RUNNING, PromptState.PREFILLING)
    return [
        prompt.id,
        prompt.model,
        prompt.tenant,
        Cell(str(prompt.state), GREEN if running else YELLOW),
        format_seconds(prompt.age_s),
        "-" if prompt.first_token_s is None else format_seconds(prompt.first_token_s),
        _done(prompt),
    ]


def _done(prompt: PromptView) -> str:
    if prompt.kind in ("image", "audio"):
        return f"step {prompt.steps_done or 0} of {prompt.steps or '?'}"
    return f"{prompt.input_tokens} tokens in, {prompt.output_tokens} out"

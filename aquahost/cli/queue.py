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
from aquahost.messages.snapshot import PromptView
from aquahost.messages.words import AT_WORK, state_words
from aquahost.units import format_seconds

_COLUMNS = (
    Column("ID"),
    Column("MODEL"),
    Column("TENANT"),
    Column("STATE"),
    Column("AGE", right=True),
    Column("DONE", right=True),
    Column("SERVICE", right=True),
    Column("LINE", right=True),
    Column("NEXT", right=True),
)


def queue(
    context: typer.Context,
    names: SomeModelsArgument = None,
    output: FormOption = Form.TABLE,
    quiet: NamesOption = False,
) -> None:
    """List the live prompts.

    STATE is waiting, prefilling, running or suspended; of a suspended prompt whose KV has gone elsewhere it says where:
    paged to GPU 3, paged to host.

    DONE counts tokens written, of those asked for, or steps of all steps. SERVICE is the device time a prompt has had,
    AGE the time since it came.

    LINE is its place in line, 1 being next, and NEXT an estimate of when it is its turn: now, or in so long. A dash
    means that it is not known, or that the prompt is in no line.

    What was asked is never shown.

    Examples:

      aquahost queue chat

      aquahost queue -o json    # also tokens read, time to first token, ...

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
    return [
        prompt.id,
        prompt.model,
        prompt.tenant,
        Cell(state_words(prompt.state, prompt.place), GREEN if prompt.state in AT_WORK else YELLOW),
        format_seconds(prompt.age_s),
        _done(prompt),
        format_seconds(prompt.service_s) if prompt.service_s else "-",
        str(prompt.position or "-"),
        _next(prompt),
    ]


def _done(prompt: PromptView) -> str:
    if prompt.kind in ("image", "audio"):
        return f"{prompt.steps_done or 0}/{prompt.steps or '?'}"
    return f"{prompt.output_tokens}/{prompt.max_tokens}" if prompt.max_tokens else str(prompt.output_tokens)


def _next(prompt: PromptView) -> str:
    if prompt.position:
        if prompt.next_slice_s is None:
            return "-"
        return format_seconds(prompt.next_slice_s) if prompt.next_slice_s else "soon"
    return "now" if prompt.state in AT_WORK else "-"

"""`aquahost ps`: the models."""

from __future__ import annotations

import typer

from aquahost.cli.models import SomeModelsArgument, find_models, note, size, state_cell
from aquahost.cli.output import Cell, Column, Form, FormOption, NamesOption, write_data, write_line, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.messages.snapshot import ModelView

COLUMNS = (
    Column("NAME"),
    Column("KIND"),
    Column("STATE"),
    Column("GPU", right=True),
    Column("WEIGHTS", right=True),
    Column("KV", right=True),
    Column("QUEUE", right=True),
    Column("RSS", right=True),
    Column("NOTE"),
)


def ps(
    context: typer.Context,
    names: SomeModelsArgument = None,
    output: FormOption = Form.TABLE,
    quiet: NamesOption = False,
) -> None:
    """List the models: state, GPU, memory, queue.

    WEIGHTS and KV lie on the GPU; RSS is the host memory of the model's process. QUEUE counts prompts, waiting and
    running.

    Examples:

      aquahost ps

      aquahost ps chat -o json
    """
    with surroundings(context).client() as client:
        snapshot = client.snapshot()
    models = find_models(snapshot, names) if names else snapshot.models
    if quiet:
        for model in models:
            write_line(model.name)
    elif output is Form.TABLE:
        write_table(COLUMNS, [model_row(model) for model in models])
    else:
        write_data(models, output)


def model_row(model: ModelView) -> list[Cell | str]:
    """The model as a row under COLUMNS."""
    footprint = model.footprint
    return [
        model.name,
        model.kind,
        state_cell(model),
        "-" if model.gpu is None else str(model.gpu),
        size(footprint.weights_bytes if footprint else None),
        size(footprint.kv_bytes if footprint else None),
        f"{model.queue}/{model.max_queue}",
        size(model.resident_bytes),
        note(model),
    ]

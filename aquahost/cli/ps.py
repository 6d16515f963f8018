"""`aquahost ps`: the models."""

from __future__ import annotations

import typer

from aquahost.cli.models import SomeModelsArgument, find_models, note, size, state_cell
from aquahost.cli.output import Cell, Column, Form, FormOption, NamesOption, write_data, write_line, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.messages.snapshot import ModelView
from aquahost.messages.wire import EngineStats, Footprint

COLUMNS = (
    Column("NAME"),
    Column("KIND"),
    Column("STATE"),
    Column("GPU", right=True),
    Column("WEIGHTS", right=True),
    Column("KV", right=True),
    Column("BORROWED", right=True),
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

    WEIGHTS and KV lie on the GPU, BORROWED on other ones; RSS is the host memory of the model's process. QUEUE counts
    prompts, waiting and running. The weights of a parked model have left its GPU until its next prompt.

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
    weights_bytes, kv_bytes, borrowed_bytes = _sizes(model)
    return [
        model.name,
        model.kind,
        state_cell(model),
        "-" if model.gpu is None else str(model.gpu),
        size(weights_bytes),
        size(kv_bytes),
        size(borrowed_bytes),
        f"{model.queue}/{model.max_queue}",
        size(model.resident_bytes),
        note(model),
    ]


def _sizes(model: ModelView) -> tuple[int, int, int]:
    """What the model holds of its GPU for weights and KV, and what it has borrowed.

    Until its worker has reported, that is what it may come to hold.
    """
    footprint, stats = model.footprint or Footprint(), model.stats or EngineStats()
    if stats.parked or stats.weights_bytes:
        return stats.weights_bytes, stats.kv_bytes, stats.borrowed_bytes
    return footprint.weights_bytes, footprint.kv_bytes, stats.borrowed_bytes

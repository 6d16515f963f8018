"""`aquahost gpus`: the GPUs."""

from __future__ import annotations

import typer

from aquahost.cli.output import Column, Form, FormOption, say, write_data, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.units import format_bytes

_COLUMNS = (
    Column("GPU", right=True),
    Column("NAME"),
    Column("TOTAL", right=True),
    Column("WEIGHTS", right=True),
    Column("KV", right=True),
    Column("OTHER", right=True),
    Column("FREE", right=True),
    Column("MODELS"),
)
EMULATED = "EMULATED GPUs: memory and links are modelled on this machine's CPU; no figure is a real GPU's"


def gpus(context: typer.Context, output: FormOption = Form.TABLE) -> None:
    """List the GPUs and what fills their memory.

    OTHER is used by no model of ours: CUDA itself, and other programs.

    Examples:

      aquahost gpus

      aquahost gpus -o json
    """
    with surroundings(context).client() as client:
        snapshot = client.snapshot()
    if output is not Form.TABLE:
        write_data(snapshot.gpus, output)
        return
    rows = []
    for gpu in snapshot.gpus:
        sizes = (gpu.total_bytes, gpu.weights_bytes, gpu.kv_bytes, gpu.other_bytes, gpu.free_bytes)
        rows.append([str(gpu.index), gpu.name, *map(format_bytes, sizes), ", ".join(gpu.models) or "-"])
    write_table(_COLUMNS, rows)
    if snapshot.driver == "emulated":
        say(EMULATED)

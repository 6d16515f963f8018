"""`aquahost gpus`: the GPUs."""

from __future__ import annotations

import typer

from aquahost.cli.models import size
from aquahost.cli.output import RED, Cell, Column, Form, FormOption, one_line, say, write_data, write_table
from aquahost.cli.surroundings import surroundings
from aquahost.messages.snapshot import GpuView
from aquahost.units import format_bytes

_COLUMNS = (
    Column("GPU", right=True),
    Column("NAME"),
    Column("TOTAL", right=True),
    Column("WEIGHTS", right=True),
    Column("KV", right=True),
    Column("WORK", right=True),
    Column("LENT", right=True),
    Column("OTHER", right=True),
    Column("FREE", right=True),
    Column("BORROWED", right=True),
    Column("MODELS"),
    Column("NOTE"),
)
EMULATED = "EMULATED GPUs: memory and links are modelled on this machine's CPU; no figure is a real GPU's"


def gpus(context: typer.Context, output: FormOption = Form.TABLE) -> None:
    """List the GPUs and what fills their memory.

    WEIGHTS, KV, WORK (what activations may take), LENT, OTHER and FREE add up to TOTAL. LENT is in use by models of
    other GPUs, BORROWED is memory of other GPUs in use here; OTHER is used by no model of ours: CUDA itself, and other
    programs.

    Examples:

      aquahost gpus

      aquahost gpus -o json
    """
    with surroundings(context).client() as client:
        snapshot = client.snapshot()
    if output is not Form.TABLE:
        write_data(snapshot.gpus, output)
        return
    write_table(_COLUMNS, [_row(gpu) for gpu in snapshot.gpus])
    if snapshot.driver == "emulated":
        say(EMULATED)


def index_cell(gpu: GpuView) -> Cell:
    """The GPU's number, red if it is lost."""
    return Cell(str(gpu.index), RED if gpu.lost is not None else "")


def lost_cell(gpu: GpuView) -> Cell:
    """Why the GPU is lost; empty if it is not."""
    return Cell("" if gpu.lost is None else f"LOST: {one_line(gpu.lost)}", RED)


def _row(gpu: GpuView) -> list[Cell | str]:
    parts = (gpu.weights_bytes, gpu.kv_bytes, gpu.work_bytes, gpu.lent_bytes, gpu.other_bytes)
    return [
        index_cell(gpu),
        one_line(gpu.name),
        format_bytes(gpu.total_bytes),
        *map(size, parts),
        format_bytes(gpu.free_bytes),
        size(gpu.borrowed_bytes),
        ", ".join(gpu.models) or "-",
        lost_cell(gpu),
    ]

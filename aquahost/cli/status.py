"""`aquahost status`: everything on one screen."""

from __future__ import annotations

import sys

import typer

from aquahost.cli.daemon_process import read_daemon_file
from aquahost.cli.gpus import EMULATED, index_cell, lost_cell
from aquahost.cli.output import (
    BOLD,
    DIM,
    YELLOW,
    Cell,
    Column,
    Form,
    FormOption,
    has_colour,
    one_line,
    painted,
    write_data,
    write_line,
    write_table,
)
from aquahost.cli.ps import COLUMNS, model_row
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.messages.snapshot import GpuView, Snapshot
from aquahost.units import format_bytes, format_seconds

_BAR_CELLS = 24
_PARTS = (("weights", "█"), ("kv", "▓"), ("work", "▆"), ("lent", "▒"), ("other", "╳"))
"""Of a GPU's memory, each with its block in the bar; what is left is free."""
_LEGEND = f"{'  '.join(f'{block} {part}' for part, block in _PARTS)}  · free"
_GPU_COLUMNS = (
    Column("GPU", right=True),
    Column("NAME"),
    Column("MEMORY"),
    Column("USED", right=True),
    Column("TOTAL", right=True),
    Column("MODELS"),
    Column("NOTE"),
)


def status(context: typer.Context, output: FormOption = Form.TABLE) -> None:
    """Show daemon, GPUs and models on one screen.

    A bar shows what fills a GPU: █ weights, ▓ KV blocks, ▆ activations' work memory, ▒ lent to models of other GPUs,
    ╳ others, · free. `-o json` is the whole snapshot.

    Examples:

      aquahost status

      aquahost status -o json
    """
    around = surroundings(context)
    with around.client() as client:
        snapshot = client.snapshot()
    if output is not Form.TABLE:
        write_data(snapshot, output)
        return
    _write_daemon(snapshot, _address(snapshot, around))
    write_line("")
    write_table(_GPU_COLUMNS, [_gpu_row(gpu) for gpu in snapshot.gpus])
    write_line(painted(_LEGEND, DIM, has_colour(sys.stdout)))
    write_line("")
    write_table(COLUMNS, [model_row(model) for model in snapshot.models])


def _write_daemon(snapshot: Snapshot, address: str) -> None:
    colours = has_colour(sys.stdout)
    title = painted(f"aquahost {snapshot.version}", BOLD, colours)
    draining = painted("  DRAINING: no new prompts", YELLOW, colours) if snapshot.draining else ""
    write_line(f"{title}  pid {snapshot.pid}, up {format_seconds(snapshot.uptime_s)}, {address}{draining}")
    if snapshot.driver == "emulated":
        write_line(painted(EMULATED, YELLOW, colours))
    else:
        write_line(f"driver {snapshot.driver}")
    running = sum(model.stats.running for model in snapshot.models if model.stats)
    lent_bytes = sum(gpu.lent_bytes for gpu in snapshot.gpus)
    leases = f"{len(snapshot.leases)} leases, {format_bytes(lent_bytes)} lent" if snapshot.leases else "no leases"
    write_line(f"{len(snapshot.prompts)} live prompts, {running} of them running; {leases}")


def _address(snapshot: Snapshot, around: Surroundings) -> str:
    about = read_daemon_file(around.env)
    return about.url if about is not None and about.pid == snapshot.pid else str(around.socket())


def _gpu_row(gpu: GpuView) -> list[Cell | str]:
    used_bytes = gpu.total_bytes - gpu.free_bytes
    return [
        index_cell(gpu),
        one_line(gpu.name),
        memory_bar(gpu),
        format_bytes(used_bytes),
        format_bytes(gpu.total_bytes),
        ", ".join(gpu.models) or "-",
        lost_cell(gpu),
    ]


def memory_bar(gpu: GpuView) -> str:
    """The GPU's memory as a bar; whatever is not nothing gets at least a cell."""
    bar = ""
    for part, block in _PARTS:
        part_bytes = getattr(gpu, f"{part}_bytes")
        cells = round(_BAR_CELLS * part_bytes / gpu.total_bytes) if gpu.total_bytes else 0
        bar += block * (max(cells, 1) if part_bytes else 0)
    return bar[:_BAR_CELLS].ljust(_BAR_CELLS, "·")

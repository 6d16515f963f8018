"""What `aquahost simulate` may be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aquahost.profiles.data_sheets import SHEETS
from aquahost.traces.built_in import TRACES

_GPUS = ", ".join(SHEETS)
_NAMES = ", ".join(TRACES)
_SHOWN = "What is kept"

FileArgument = Annotated[
    str | None,
    typer.Argument(metavar="models.yaml", help="The models; the user's file without it.", show_default=False),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        metavar="NxGPU",
        help=f"The node, like 8xH100, of {_GPUS}. Without it: the emulated one of host.emulated, with measured "
        "profiles.",
        show_default=False,
    ),
]
TraceOption = Annotated[
    str,
    typer.Option(
        metavar="traffic|NAME|FILE",
        help=f"traffic: what the entries expect. {_NAMES}: as of bench burst. Or a JSONL file, one prompt a line.",
    ),
]
ModelOption = Annotated[str | None, typer.Option(help="Whom a trace asks that names no models.", show_default=False)]
DurationOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Prompts of so much time from the first on: 30s, 1h. Traffic: 5m without it; others: all."
    ),
]
TimesOption = Annotated[
    float, typer.Option("--rate-times", min=0.001, max=1000, help="So many times as many a second.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Another seed makes another trace of the same kind.")]
PoliciesOption = Annotated[
    str | None,
    typer.Option(
        metavar="LIST", help="Some of fair, fcfs, priority, and aqua, a peer; that of models.yaml without it."
    ),
]
TiersOption = Annotated[
    str,
    typer.Option(metavar="LIST", help="Where prompts go that must make room: some of peer, host, recompute (nowhere)."),
]
PngOption = Annotated[
    str | None,
    typer.Option(
        metavar="PREFIX", help="Draw PREFIX-ttft.png, PREFIX-leases.png and PREFIX-memory.png.", rich_help_panel=_SHOWN
    ),
]
RecordOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help="A recording for aquahost top --replay; packed if named .gz.",
        rich_help_panel=_SHOWN,
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="--record: replace what the file holds.", rich_help_panel=_SHOWN)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTrace:
    """What is to be sent."""

    name: str
    model: str | None
    duration_s: float | None
    times: float
    seed: int

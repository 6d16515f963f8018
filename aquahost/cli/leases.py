"""`aquahost leases`: who lent what to whom."""

from __future__ import annotations

import typer

from aquahost.cli.models import SomeModelsArgument, find_models
from aquahost.cli.output import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    Cell,
    Column,
    Form,
    FormOption,
    NamesOption,
    one_line,
    say,
    write_data,
    write_line,
    write_table,
)
from aquahost.cli.surroundings import surroundings
from aquahost.messages.snapshot import LeaseState, LeaseView, Snapshot
from aquahost.messages.wire import EngineStats
from aquahost.units import format_bytes, format_seconds

_COLUMNS = (
    Column("ID", right=True),
    Column("DONOR"),
    Column("BORROWER"),
    Column("BYTES", right=True),
    Column("STATE"),
    Column("AGE", right=True),
    Column("RECALLED", right=True),
    Column("DUE"),
)
_COLOURS = {
    LeaseState.REQUESTED: DIM,
    LeaseState.GRANTED: YELLOW,
    LeaseState.MAPPED: GREEN,
    LeaseState.RECALLING: YELLOW,
    LeaseState.RETURNED: DIM,
    LeaseState.LOST: RED,
}


def leases(
    context: typer.Context,
    names: SomeModelsArgument = None,
    output: FormOption = Form.TABLE,
    quiet: NamesOption = False,
) -> None:
    """List the leases: which GPU lends memory to which model.

    With models, those that they borrow or that are of their GPUs' memory. RECALLED is what the donor has asked back,
    DUE when it is to be there.

    Examples:

      aquahost leases

      aquahost leases chat -o json
    """
    with surroundings(context).client() as client:
        snapshot = client.snapshot()
    found = _of_models(snapshot, names) if names else snapshot.leases
    if quiet:
        for lease in found:
            write_line(str(lease.id))
    elif output is not Form.TABLE:
        write_data(found, output)
    else:
        hosted = {gpu.index: gpu.models for gpu in snapshot.gpus}
        write_table(_COLUMNS, [_row(lease, hosted.get(lease.donor, [])) for lease in found])
        if not found:
            say(f"no leases{_why_none(snapshot)}")


def _of_models(snapshot: Snapshot, names: list[str]) -> list[LeaseView]:
    models = find_models(snapshot, names)
    wanted, gpus = {model.name for model in models}, {model.gpu for model in models}
    return [lease for lease in snapshot.leases if lease.borrower in wanted or lease.donor in gpus]


def _row(lease: LeaseView, hosted: list[str]) -> list[Cell | str]:
    return [
        str(lease.id),
        f"GPU {lease.donor} ({', '.join(hosted)})" if hosted else f"GPU {lease.donor}",
        f"{lease.borrower} on GPU {lease.borrower_gpu}",
        format_bytes(lease.nbytes),
        Cell(str(lease.state), _COLOURS[lease.state]),
        format_seconds(lease.age_s),
        format_bytes(lease.recalled_bytes) if lease.recalled_bytes else "-",
        _due(lease.deadline_in_s),
    ]


def _due(deadline_in_s: float | None) -> Cell:
    if deadline_in_s is None:
        return Cell("-")
    if deadline_in_s < 0:
        return Cell(f"{format_seconds(-deadline_in_s)} late", RED)
    return Cell(f"in {format_seconds(deadline_in_s)}")


def _why_none(snapshot: Snapshot) -> str:
    """What keeps GPUs from lending at all, if something does."""
    if snapshot.leases:
        return " of these models"
    if not snapshot.leasing:
        return ": leasing.enabled is false in models.yaml"
    if snapshot.lending_trouble is not None:
        return f": the links between GPUs could not be tested: {one_line(snapshot.lending_trouble)}"
    if len(snapshot.gpus) < 2:
        return ": there is no second GPU; host.partition makes several of a large one"
    if not any(link.usable for link in snapshot.links if min(link.source, link.target) >= 0):
        return ": no GPU can use another's memory; `aquahost doctor` says why"
    if any(model.stats is not None and _wants_memory(model.stats) for model in snapshot.models):
        return ": no GPU has memory to lend now, beside leasing.headroom_bytes; `aquahost gpus` shows what holds it"
    return ": no model needs more KV memory than it has"


def _wants_memory(stats: EngineStats) -> bool:
    """Whether KV lies in host memory for want of a neighbour's."""
    return not stats.parked and (stats.host_bytes > 0 or stats.suspended > 0)

"""Models by name: completion, look-up, and how their state is shown."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated

import typer

from aquahost.cli.output import DIM, GREEN, RED, YELLOW, Cell, one_line
from aquahost.errors import AquahostError, UnknownModelError
from aquahost.messages.snapshot import ModelState, ModelView, Snapshot
from aquahost.units import format_bytes, format_seconds

_COLOURS = {
    ModelState.READY: GREEN,
    ModelState.LOADING: YELLOW,
    ModelState.DRAINING: YELLOW,
    ModelState.FAILED: RED,
    ModelState.UNLOADED: DIM,
}


def complete_model(incomplete: str) -> list[str]:
    """Names of models that begin so, for the shell; none if no daemon answers at once."""
    from aquahost.client import Client

    try:
        with Client(timeout_s=0.5) as client:
            return [model.name for model in client.snapshot().models if model.name.startswith(incomplete)]
    except AquahostError:
        return []


def complete_prompt(incomplete: str) -> list[str]:
    """Ids of live prompts that begin so, for the shell; none if no daemon answers at once."""
    from aquahost.client import Client

    try:
        with Client(timeout_s=0.5) as client:
            return [prompt.id for prompt in client.snapshot().prompts if prompt.id.startswith(incomplete)]
    except AquahostError:
        return []


ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model's name.", autocompletion=complete_model, show_default=False)
]
ModelsArgument = Annotated[
    list[str],
    typer.Argument(metavar="MODEL", help="Names of models.", autocompletion=complete_model, show_default=False),
]
SomeModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODEL", help="Only these models.", autocompletion=complete_model, show_default=False),
]


def find_models(snapshot: Snapshot, names: Sequence[str]) -> list[ModelView]:
    """The models of these names, in this order. Raises UnknownModelError that names the nearest."""
    known = {model.name: model for model in snapshot.models}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
            raise UnknownModelError(f"no model is named {name}; {hint}")
    return [known[name] for name in names]


def state_cell(model: ModelView) -> Cell:
    """The state in its colour, with the share loaded so far."""
    if model.state is ModelState.READY and parked_in(model):
        return Cell("parked", DIM)
    text = str(model.state)
    if model.state is ModelState.LOADING and model.load is not None and model.load.total > 0:
        text += f" {100 * min(model.load.done, model.load.total) // model.load.total}%"
    return Cell(text, _COLOURS[model.state])


def note(model: ModelView) -> str:
    """What else is to be known: how long it has been ready, how far it is loaded, why it failed."""
    match model.state:
        case ModelState.LOADING if model.load is not None:
            return load_text(model)
        case ModelState.READY:
            ready = f"ready for {format_seconds(model.ready_for_s or 0)}"
            died = f"; restarted {model.restarts}x: {one_line(model.reason or '')}" if model.restarts else ""
            parked = f"; parked {place}, wakes with its next prompt" if (place := parked_in(model)) else ""
            return f"{ready}{'; pinned' if model.pinned else ''}{parked}{died}"
        case _:
            return one_line(model.reason or "")


def parked_in(model: ModelView) -> str:
    """Where a parked model's weights lie, in words; "" for one that is not parked."""
    place = model.stats.parked if model.stats else ""
    return "in host memory" if place == "host" else f"on {one_line(place)}" if place else ""


def load_text(model: ModelView) -> str:
    """How far a load is, in words: "loading weights, 1.0 GiB of 2.0 GiB"."""
    load = model.load
    if load is None:
        return ""
    if load.total <= 0:
        return one_line(load.stage)
    if load.unit == "bytes":
        return f"{one_line(load.stage)}, {format_bytes(load.done)} of {format_bytes(load.total)}"
    return f"{one_line(load.stage)}, {load.done} of {load.total} {one_line(load.unit)}"


def size(size_bytes: int | None) -> str:
    """A size for a table; "-" where there is none."""
    return format_bytes(size_bytes) if size_bytes else "-"

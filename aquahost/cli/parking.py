"""`aquahost park`, `wake`, `pin` and `unpin`: idle models' weights off their GPUs and back, or never."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

from aquahost.cli.exits import ExitCode
from aquahost.cli.models import ModelsArgument, find_models, parked_in
from aquahost.cli.output import one_line, say
from aquahost.cli.surroundings import Surroundings, surroundings
from aquahost.client import Client
from aquahost.messages.snapshot import ModelState, ModelView

_LOOK_EVERY_S = 0.2
_FIGURES_S = 1.0
"""After this long a worker has told anew what keeps it."""
_PATIENCE_S = 60.0


def park(context: typer.Context, names: ModelsArgument) -> None:
    """Move idle models' weights off their GPUs.

    They go to a neighbour's memory, else to host memory, and come back with the next prompt, or by `aquahost wake`.
    Ends with 1 if a model is not loaded, has prompts or is pinned, or if nobody lends on this host.

    Examples:

      aquahost park paint

      aquahost park paint sing
    """
    around = surroundings(context)
    with around.client() as client:
        for name in _known(client, names):
            client.park(name)
        _await_each(around, client, names, _parked, _kept_from_parking)


def wake(context: typer.Context, names: ModelsArgument) -> None:
    """Bring parked models' weights back to their GPUs.

    What their GPUs have lent meanwhile is recalled. Ends with 1 if a model is not loaded, or if its GPU has no room.

    Examples:

      aquahost wake paint
    """
    around = surroundings(context)
    with around.client() as client:
        for name in _known(client, names):
            client.wake(name)
        _await_each(around, client, names, _awake, _kept_from_waking)


def pin(context: typer.Context, names: ModelsArgument) -> None:
    """Keep models' weights on their GPUs: never park them.

    Holds until `aquahost unpin` or the daemon's end, whatever models.yaml says. A model that is parked wakes.

    Examples:

      aquahost pin chat
    """
    with surroundings(context).client() as client:
        for name in _known(client, names):
            client.pin(name)
            say(f"{name}: pinned")


def unpin(context: typer.Context, names: ModelsArgument) -> None:
    """Let models be parked when they are idle.

    Holds until `aquahost pin` or the daemon's end, whatever models.yaml says.

    Examples:

      aquahost unpin chat
    """
    with surroundings(context).client() as client:
        for name in _known(client, names):
            client.unpin(name)
            say(f"{name}: unpinned")


def _known(client: Client, names: Sequence[str]) -> list[str]:
    find_models(client.snapshot(), names)
    return list(dict.fromkeys(names))


def _await_each(
    around: Surroundings,
    client: Client,
    names: Sequence[str],
    reached: Callable[[ModelView], str],
    hindered: Callable[[ModelView], str],
) -> None:
    """Say of each model that it is where it was to be, or why it is not; ends with 1 if one is not."""
    left = list(dict.fromkeys(names))
    began_s = around.now_s()
    failed = False
    while left:
        waited_s = around.now_s() - began_s
        for model in find_models(client.snapshot(), left):
            if word := reached(model):
                say(f"{model.name}: {word}")
            elif why := _why_not(model, hindered, waited_s):
                say(f"aquahost: {model.name}: {one_line(why)}")
                failed = True
            else:
                continue
            left.remove(model.name)
        if left:
            around.sleep(_LOOK_EVERY_S)
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _why_not(model: ModelView, hindered: Callable[[ModelView], str], waited_s: float) -> str:
    if model.state is not ModelState.READY:
        return f"it is {model.state}"
    if waited_s > _FIGURES_S and (why := hindered(model)):
        return why
    return f"not yet, after {_PATIENCE_S:.0f} s; see `aquahost logs {model.name}`" if waited_s > _PATIENCE_S else ""


def _parked(model: ModelView) -> str:
    return f"parked {place}" if (place := parked_in(model)) else ""


def _kept_from_parking(model: ModelView) -> str:
    if model.queue:
        return "a prompt has come; it stays awake"
    return "it has been pinned" if model.pinned else ""


def _awake(model: ModelView) -> str:
    return f"awake on GPU {model.gpu}" if model.stats and not model.stats.parked else ""


def _kept_from_waking(model: ModelView) -> str:
    return model.stats.stuck if model.stats else ""

"""Waiting for models to be loaded, with something to look at meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from aquahost.cli.models import find_models, load_text
from aquahost.cli.output import one_line, say
from aquahost.client import Client
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.units import format_bytes

_LOOK_EVERY_S = 0.2
_SETTLED = (ModelState.READY, ModelState.FAILED)


class Show(Protocol):
    """Told of every look at a model."""

    def update(self, model: ModelView) -> None:
        """`model` as it is now."""
        ...


def wait_loaded(client: Client, names: Sequence[str], show: Show, sleep: Callable[[float], None]) -> list[ModelView]:
    """Wait until each of these models is ready or has failed (or is unloaded again), and return them as they are."""
    began: set[str] = set()
    while True:
        models = find_models(client.snapshot(), names)
        for model in models:
            show.update(model)
            if model.state is not ModelState.UNLOADED:
                began.add(model.name)
        if all(_settled(model, began) for model in models):
            return models
        sleep(_LOOK_EVERY_S)


def _settled(model: ModelView, began: set[str]) -> bool:
    return model.state in _SETTLED or (model.state is ModelState.UNLOADED and model.name in began)


def report_failures(models: Sequence[ModelView]) -> bool:
    """Say which of these models are not ready, and why; whether there were any."""
    failed = [model for model in models if model.state is not ModelState.READY]
    for model in failed:
        say(f"aquahost: {why_not_ready(model)}")
    return bool(failed)


def why_not_ready(model: ModelView) -> str:
    """One line: "chat failed: no such folder"."""
    verb = "failed" if model.state is ModelState.FAILED else f"is {model.state}"
    return f"{model.name} {verb}: {one_line(model.reason or 'no reason known')}"


@contextmanager
def load_progress() -> Iterator[Show]:
    """Bars on a terminal, else a line for each change; on stderr."""
    if sys.stderr.isatty():
        from aquahost.cli.load_bars import LoadBars

        with LoadBars() as bars:
            yield bars
    else:
        yield _Lines()


class _Lines:
    """A line when a model's state or stage changes, and at each quarter of what is loaded."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str, int]] = {}

    def update(self, model: ModelView) -> None:
        load = model.load
        quarter = 4 * load.done // load.total if load and load.total > 0 else 0
        now = (str(model.state), load.stage if load else "", quarter)
        before = self._said.get(model.name)
        if now == before or (before is None and model.state is ModelState.UNLOADED):
            return
        self._said[model.name] = now
        if model.state is not ModelState.FAILED:  # whoever waits reports it, with the reason
            say(f"{model.name}: {state_text(model)}")


def state_text(model: ModelView) -> str:
    """The state in words: "loading weights, 1.0 GiB of 2.0 GiB", "ready (1.2 GiB of weights, GPU 0)"."""
    match model.state:
        case ModelState.LOADING:
            return load_text(model) or "loading"
        case ModelState.READY:
            weights_bytes = model.footprint.weights_bytes if model.footprint else 0
            weights = f"{format_bytes(weights_bytes)} of weights, " if weights_bytes else ""
            return f"ready ({weights}GPU {model.gpu})"
        case _:
            reason = f": {one_line(model.reason)}" if model.reason else ""
            return f"{model.state}{reason}"

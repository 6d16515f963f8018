"""Sending a prompt to a model of any kind; it is loaded first where need be."""

from __future__ import annotations

from collections.abc import Iterator

from aquahost.client import Client
from aquahost.errors import ModelUnavailableError, UnknownModelError
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost_tui.stream import Pause
from aquahost_tui.trial import Reply

_LOOK_EVERY_S = 0.3

SUFFIXES = {"image": "png", "audio": "wav"}
"""Of the files that media are asked for as."""


def ask(client: Client, pause: Pause, *, model: str, kind: str, messages: list[dict[str, str]]) -> Iterator[Reply]:
    """What comes back for the last of the messages; closing it cancels the prompt."""
    if not _made_ready(client, pause, model):
        return
    text = messages[-1]["content"]
    if kind == "image":
        yield from client.image(model, text, output_format=SUFFIXES[kind])
    elif kind == "audio":
        yield from client.audio(model, text, response_format=SUFFIXES[kind])
    else:
        yield from client.chat(model, messages)


def _made_ready(client: Client, pause: Pause, name: str) -> bool:
    """Load the model if nobody has, and wait until it is there; False if that was given up. Raises
    ModelUnavailableError if it does not come."""
    model = _find(client, name)
    has_begun = model.state is not ModelState.UNLOADED
    if not has_begun:
        client.load(name)
    while model.state is ModelState.LOADING or not has_begun:
        if pause(_LOOK_EVERY_S):
            return False
        model = _find(client, name)
        has_begun = has_begun or model.state is not ModelState.UNLOADED
    if model.state is not ModelState.READY:
        verb = "failed" if model.state is ModelState.FAILED else f"is {model.state}"
        raise ModelUnavailableError(f"{name} {verb}: {model.reason or 'no reason known'}")
    return True


def _find(client: Client, name: str) -> ModelView:
    for model in client.snapshot().models:
        if model.name == name:
            return model
    raise UnknownModelError(f"no model is named {name!r}")

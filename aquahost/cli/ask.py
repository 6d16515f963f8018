"""What `aquahost run` was asked for, and getting the model ready for it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from aquahost.cli.durations import seconds
from aquahost.cli.follow import load_progress, wait_loaded, why_not_ready
from aquahost.cli.models import find_models
from aquahost.client import Client
from aquahost.errors import ModelUnavailableError
from aquahost.messages.snapshot import ModelState

_TEXT = ("llm", "toy")
_KINDS = {
    "--system": _TEXT,
    "--raw": _TEXT,
    "--max-tokens": _TEXT,
    "--temperature": _TEXT,
    "--top-p": _TEXT,
    "--stop": _TEXT,
    "--stats": _TEXT,
    "--seed": (*_TEXT, "image", "audio"),
    "--steps": ("image", "audio"),
    "--guidance": ("image", "audio"),
    "--negative": ("image", "audio"),
    "--size": ("image",),
    "--count": ("image",),
    "--duration": ("audio",),
}
"""Which kinds of model each option is for."""
_FIELDS = {"--negative": "negative_prompt", "--count": "n"}
"""Fields of the API's body that are not named like their option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One prompt as it was given on the command line."""

    model: str
    prompt: str
    output: Path | None
    """File to save the reply in; None for stdout (text) or a name of our choice (media)."""
    to_stdout: bool
    """Whether stdout was asked for."""
    options: Mapping[str, Any]
    """By flag; only those given."""

    def ready_model(self, client: Client, sleep: Callable[[float], None]) -> str:
        """Check the options against the model, load it if need be, wait until it is ready; its kind."""
        model = find_models(client.snapshot(), [self.model])[0]
        self.check_options(model.kind)
        if model.state is ModelState.UNLOADED:
            client.load(model.name)
        if model.state in (ModelState.UNLOADED, ModelState.LOADING):
            with load_progress() as show:
                model = wait_loaded(client, [model.name], show, sleep)[0]
        if model.state is not ModelState.READY:
            raise ModelUnavailableError(why_not_ready(model))
        return model.kind

    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        system = self.options.get("--system")
        start = [{"role": "system", "content": system}] if system else []
        return [*start, {"role": "user", "content": self.prompt}]

    def fields(self) -> dict[str, Any]:
        """The options as fields of the API's body, without those that concern the CLI alone."""
        own = ("--system", "--raw", "--stats")
        return {
            _FIELDS.get(flag, flag.removeprefix("--").replace("-", "_")): value
            for flag, value in self.options.items()
            if flag not in own
        }

    def check_options(self, kind: str) -> None:
        """A usage error for an option that a model of this kind does not take."""
        for flag in self.options:
            if kind not in _KINDS[flag]:
                kinds = " or ".join(_KINDS[flag])
                raise typer.BadParameter(
                    f"is for models of kind {kinds}; {self.model} is {kind}", param_hint=f"'{flag}'"
                )


def options_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by flag, out of all that Typer has parsed; times in seconds."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in parameters.items()}
    options = {
        flag: list(value) if isinstance(value, tuple) else value
        for flag, value in flags.items()
        if flag in _KINDS and value is not None and value is not False and value not in ([], ())
    }
    for flag, value in options.items():
        _check_sendable(flag, value)
    if "--duration" in options:
        options["--duration"] = seconds(str(options["--duration"]), "--duration")
    return options


def _check_sendable(flag: str, value: Any) -> None:
    """A usage error for what JSON cannot carry: nan, infinity, and text that is not UTF-8."""
    if isinstance(value, float) and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number", param_hint=f"'{flag}'")
    if any(not is_text(text) for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
        raise typer.BadParameter("is not UTF-8 text", param_hint=f"'{flag}'")


def is_text(argument: str) -> bool:
    """Whether an argument came as UTF-8; Python keeps other bytes as lone surrogates."""
    return argument.isascii() or not any("\ud800" <= character <= "\udfff" for character in argument)


def read_prompt(argument: str | None) -> str:
    """The prompt from the command line, or from stdin; a usage error if it is empty or no text."""
    if argument is not None and argument != "-":
        text = argument
    elif sys.stdin.isatty() and argument is None:
        raise typer.BadParameter("is missing; give it as an argument or on stdin", param_hint="'PROMPT'")
    else:
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise typer.BadParameter("on stdin is not UTF-8 text", param_hint="'PROMPT'") from error
    if not text.strip():
        raise typer.BadParameter("is empty", param_hint="'PROMPT'")
    if not is_text(text):
        raise typer.BadParameter("is not UTF-8 text", param_hint="'PROMPT'")
    return text

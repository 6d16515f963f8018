"""Making images and sounds, and saving them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import typer

from aquahost.cli.ask import Ask
from aquahost.cli.files import open_new
from aquahost.cli.output import write_line
from aquahost.client import Client, Media, StepDone
from aquahost.file_names import free_name, numbered

_FORMATS = {
    "image": {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"},
    "audio": {"wav": "wav", "flac": "flac", "mp3": "mp3", "opus": "opus", "ogg": "opus", "pcm": "pcm"},
}
"""By suffix, the API's name of the format; the first is the default."""


class _Steps(Protocol):
    def update(self, step: StepDone) -> None: ...


def run_media(client: Client, ask: Ask, kind: str) -> None:
    """Show the steps on stderr; save each result and write its name to stdout, or write the bytes there."""
    suffix = _suffix(ask, kind)
    if ask.to_stdout and sys.stdout.isatty():
        raise typer.BadParameter("would write bytes to the terminal; pipe them on", param_hint="'--output'")
    results = _results(client, ask, kind, _FORMATS[kind][suffix])
    saved: list[Path] = []
    with _step_progress() as progress:
        for result in results:
            if isinstance(result, StepDone):
                progress.update(result)
            elif ask.to_stdout:
                sys.stdout.buffer.write(result.data)
                sys.stdout.buffer.flush()
            else:
                saved.append(_save(result, ask, suffix, len(saved) + 1))
    for path in saved:  # not before the bar is gone
        write_line(str(path))


def _results(client: Client, ask: Ask, kind: str, format_name: str) -> Iterator[StepDone | Media]:
    fields: dict[str, Any] = ask.fields()
    if kind == "image":
        return client.image(ask.model, ask.prompt, output_format=format_name, **fields)
    return client.audio(ask.model, ask.prompt, response_format=format_name, **fields)


def _suffix(ask: Ask, kind: str) -> str:
    """The suffix of the file to be made; a usage error if it names no format of this kind."""
    if ask.output is None:
        return next(iter(_FORMATS[kind]))
    suffix = ask.output.suffix.removeprefix(".").lower()
    if suffix not in _FORMATS[kind]:
        allowed = ", ".join(_FORMATS[kind])
        raise typer.BadParameter(f"{ask.output.name} does not end in one of {allowed}", param_hint="'--output'")
    return suffix


def _save(result: Media, ask: Ask, suffix: str, number: int) -> Path:
    path = numbered(ask.output, number) if ask.output else free_name(ask.prompt, suffix, Path())
    with open_new(path, "wb") as file:
        file.write(result.data)
    return path


@contextmanager
def _step_progress() -> Iterator[_Steps]:
    if sys.stderr.isatty():
        from aquahost.cli.step_bar import StepBar

        with StepBar() as bar:
            yield bar
    else:
        yield _Silent()


class _Silent:
    """No bar: stderr is no terminal."""

    def update(self, step: StepDone) -> None:
        """Nothing to show."""

"""Traces from a file: one prompt a line, as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec

from aquahost.config.names import NAME_PATTERN
from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.traces.trace import Trace, TracePrompt, in_order, kv_room

_LONGEST_S = 24 * 3600
_MOST_TOKENS = 1 << 24

_Tokens = Annotated[int, msgspec.Meta(ge=1, le=_MOST_TOKENS)]
_Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=128)]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    arrival_s: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_S)]
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    tenant: _Name | None = None
    model: _Name | None = None
    size: Annotated[float, msgspec.Meta(gt=0, le=1e12)] | None = None
    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None


def read_trace(
    path: Path, prompts: int | None = None, *, models: Mapping[str, ModelSettings] | None = None, sole: str = ""
) -> Trace:
    """The trace in a JSONL file, its first `prompts` arrivals; the first one begins it.

    `models` are those that may be asked, and `sole` the one that lines without a model ask; without them lines are
    language prompts to any model. KV memory has room for 8 prompts of mean length. Raises ConfigError that names file
    and line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    read = []
    for number, text in enumerate(lines, 1):
        if text.strip():
            try:
                read.append(_read(number, text, models, sole))
            except ValueError as error:
                raise ConfigError(f"{path}:{number}: {error}") from error
    if not read:
        raise ConfigError(f"{path}: holds no prompt; write lines like {_example()}")
    if len({bool(prompt.tenant) for prompt in read}) == 2:
        raise ConfigError(f"{path}: some lines name a tenant and some do not; name one on each, or on none")
    kept = in_order(read)[:prompts]
    begin_s = kept[0].arrival_s
    made = tuple(
        replace(prompt, number=number, arrival_s=prompt.arrival_s - begin_s) for number, prompt in enumerate(kept)
    )
    return Trace(name=str(path), seed=None, prompts=made, kv_tokens=kv_room(made))


def unknown_model(name: str, models: Mapping[str, ModelSettings]) -> str:
    """What to say of a model that is not there: the nearest name, and all that there are."""
    near = difflib.get_close_matches(name, list(models), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]}?" if near else ";"
    return f"there is no model {name!r}{hint} models.yaml has {', '.join(models) or 'none'}"


def _read(number: int, text: bytes, models: Mapping[str, ModelSettings] | None, sole: str) -> TracePrompt:
    """One line. Raises ValueError for what is wrong with it."""
    try:
        line = msgspec.json.decode(text, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{error}; write a line like {_example()}") from error
    kind = Kind.LLM
    if models is not None:
        kind = _check_model(line, models, sole)
    if kind is Kind.LLM:
        _check_text(line)
    return TracePrompt(
        number=number,
        arrival_s=line.arrival_s,
        input_tokens=line.input_tokens or 1,
        output_tokens=line.output_tokens or 1,
        tenant=line.tenant or "",
        model=line.model or "",
        size=line.size,
        steps=line.steps,
    )


def _check_text(line: _Line) -> None:
    for name in ("input_tokens", "output_tokens"):
        if getattr(line, name) is None:
            raise ValueError(f"Object missing required field `{name}`; write a line like {_example()}")
    for name in ("size", "steps"):
        if getattr(line, name) is not None:
            raise ValueError(f"`{name}` is for prompts to image and audio models")


def _check_model(line: _Line, models: Mapping[str, ModelSettings], sole: str) -> Kind:
    name = line.model or sole
    if not name:
        raise ValueError(f"names no model; there are {', '.join(models)}: name one on the line, or with --model")
    settings = models.get(name)
    if settings is None:
        raise ValueError(unknown_model(name, models))
    is_image = settings.kind is Kind.IMAGE
    most_size = float(settings.max_size_px**2) if is_image else settings.max_duration_s
    if settings.kind is not Kind.LLM and line.size is not None and line.size > most_size:
        what = "pixels" if is_image else "seconds"
        raise ValueError(f"size {line.size:g} is above {name}'s largest, {most_size:g} {what}")
    if is_image and line.steps is not None and line.steps > settings.max_steps:
        raise ValueError(f"{line.steps} steps are more than {name}'s max_steps, {settings.max_steps}")
    return settings.kind


def _example() -> str:
    return '{"arrival_s": 0.5, "input_tokens": 64, "output_tokens": 384}'

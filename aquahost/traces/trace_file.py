"""Traces from a file: one prompt a line, as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.traces.trace import Trace, TracePrompt, in_order, kv_room
from aquahost.traces.trace_line import TraceLine, example, number, read_line


def read_trace(
    path: Path, prompts: int | None = None, *, models: Mapping[str, ModelSettings] | None = None, sole: str = ""
) -> Trace:
    """The trace in a JSONL file, its first `prompts` arrivals; the first one begins it.

    `models` are those that may be asked, and `sole` the one that lines without a model ask; without them lines are
    language prompts to any model. What a line leaves out is its model's default: the means of its entry's `traffic` for
    a language model. KV memory has room for 8 prompts of mean length. Raises ConfigError that names file and line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    read = []
    for at, text in enumerate(lines, 1):
        if text.strip():
            try:
                read.append(_read(at, text, models, sole))
            except ValueError as error:
                raise ConfigError(f"{path}:{at}: {error}") from error
    if not read:
        raise ConfigError(f"{path}: holds no prompt; write lines like {example()}")
    other = next((prompt for prompt in read if bool(prompt.tenant) != bool(read[0].tenant)), None)
    if other is not None:
        names, first = ("a", "no") if other.tenant else ("no", "a")
        raise ConfigError(
            f"{path}:{other.number}: names {names} tenant, and line {read[0].number} names {first} tenant; name one on "
            "each line, or on none"
        )
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


def _read(at: int, text: bytes, models: Mapping[str, ModelSettings] | None, sole: str) -> TracePrompt:
    """One line. Raises ValueError for what is wrong with it."""
    line = read_line(text, partial(_kind, models or {}, sole))
    settings = None if models is None else _asked(line, models, sole)
    if settings is None or settings.kind is Kind.LLM:
        _check_text(line, settings)
    else:
        _check_media(line, line.model or sole, settings)
    defaults = (1, 1)
    if settings is not None and settings.kind is Kind.LLM:
        defaults = (settings.traffic.input_tokens, settings.traffic.output_tokens)
    return TracePrompt(
        number=at,
        arrival_s=line.arrival_s,
        input_tokens=line.input_tokens or defaults[0],
        output_tokens=line.output_tokens or defaults[1],
        tenant=line.tenant or "",
        model=line.model or "",
        size=line.size,
        steps=line.steps,
    )


def _kind(models: Mapping[str, ModelSettings], sole: str, model: object) -> Kind:
    """Of the model that a line asks, as far as that can be told."""
    name = model if isinstance(model, str) else sole
    return models[name].kind if name in models else Kind.LLM


def _asked(line: TraceLine, models: Mapping[str, ModelSettings], sole: str) -> ModelSettings:
    name = line.model or sole
    if not name:
        raise ValueError(f"names no model; there are {', '.join(models)}: name one on the line, or with --model")
    settings = models.get(name)
    if settings is None:
        raise ValueError(unknown_model(name, models))
    return settings


def _check_text(line: TraceLine, settings: ModelSettings | None) -> None:
    for name in ("input_tokens", "output_tokens"):
        if settings is None and getattr(line, name) is None:
            raise ValueError(f"lacks {name}; write a line like {example()}")
    for name in ("size", "steps"):
        if getattr(line, name) is not None:
            raise ValueError(f"{name} is for prompts to image and audio models; write a line like {example()}")


def _check_media(line: TraceLine, name: str, settings: ModelSettings) -> None:
    is_image = settings.kind is Kind.IMAGE
    most_size = float(settings.max_size_px**2) if is_image else settings.max_duration_s
    if line.size is not None and line.size > most_size:
        what = "pixels" if is_image else "seconds"
        raise ValueError(f"size {number(line.size)} is above {name}'s largest, {number(most_size)} {what}")
    if is_image and line.steps is not None and line.steps > settings.max_steps:
        raise ValueError(f"{line.steps:,} steps are more than {name}'s max_steps, {settings.max_steps:,}")

"""Traces from a file: one prompt a line, as JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec

from aquahost.config.settings import NAME_PATTERN
from aquahost.errors import ConfigError
from aquahost.traces.trace import Trace, TracePrompt, in_order, kv_room

_LONGEST_S = 24 * 3600
_MOST_TOKENS = 1 << 24

_Tokens = Annotated[int, msgspec.Meta(ge=1, le=_MOST_TOKENS)]
_Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=128)]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    arrival_s: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_S)]
    input_tokens: _Tokens
    output_tokens: _Tokens
    tenant: _Name | None = None
    model: _Name | None = None


def read_trace(path: Path, prompts: int | None = None) -> Trace:
    """The trace in a JSONL file, its first `prompts` arrivals; the first one begins it.

    KV memory has room for 8 prompts of mean length. Raises ConfigError that names file and line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    read = [_read(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
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


def _read(path: Path, number: int, text: bytes) -> TracePrompt:
    try:
        line = msgspec.json.decode(text, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:{number}: {error}; write a line like {_example()}") from error
    return TracePrompt(
        number=number,
        arrival_s=line.arrival_s,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        tenant=line.tenant or "",
        model=line.model or "",
    )


def _example() -> str:
    return '{"arrival_s": 0.5, "input_tokens": 64, "output_tokens": 384}'

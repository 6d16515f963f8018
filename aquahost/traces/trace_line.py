"""One line of a trace file, and in words what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from aquahost.config.names import NAME_PATTERN
from aquahost.config.settings import Kind

_LONGEST_S = 24 * 3600
_MOST_TOKENS = 1 << 24
_MOST_STEPS = 100_000
_MOST_SIZE = 1e12
_MOST_SHOWN = 40

_Tokens = Annotated[int, msgspec.Meta(ge=1, le=_MOST_TOKENS)]
_Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=128)]


class TraceLine(msgspec.Struct, forbid_unknown_fields=True):
    """As it is written."""

    arrival_s: Annotated[float, msgspec.Meta(ge=0, le=_LONGEST_S)]
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    tenant: _Name | None = None
    model: _Name | None = None
    size: Annotated[float, msgspec.Meta(gt=0, le=_MOST_SIZE)] | None = None
    steps: Annotated[int, msgspec.Meta(ge=1, le=_MOST_STEPS)] | None = None


_A_NAME = "a name: letters, digits and . _ - : / (at most 128, first a letter or digit)"
_A_LENGTH = f"a whole number from 1 to {_MOST_TOKENS:,}"
_MUST_BE = {
    "arrival_s": f"seconds, a number from 0 to {_LONGEST_S:,}",
    "input_tokens": _A_LENGTH,
    "output_tokens": _A_LENGTH,
    "tenant": _A_NAME,
    "model": _A_NAME,
    "size": f"a number above 0, pixels of an image or seconds of a sound, at most {_MOST_SIZE:,.0f}",
    "steps": f"a whole number from 1 to {_MOST_STEPS:,}",
}
_EXAMPLES = {
    Kind.IMAGE: '{"arrival_s": 2, "model": "paint", "size": 1048576, "steps": 30}',
    Kind.AUDIO: '{"arrival_s": 2, "model": "sing", "size": 10}',
}


def read_line(text: bytes, kind_of: Callable[[object], Kind]) -> TraceLine:
    """The line as written. Raises ValueError that says in words what is wrong with it, with an example for the kind of
    the model that it names."""
    try:
        return msgspec.json.decode(text, type=TraceLine)
    except msgspec.ValidationError as error:
        raise ValueError(_wrong(msgspec.json.decode(text), kind_of) or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"is no JSON object ({error}); write a line like {example()}") from error


def example(kind: Kind = Kind.LLM) -> str:
    """A line that asks a model of this kind."""
    return _EXAMPLES.get(kind, '{"arrival_s": 0.5, "input_tokens": 64, "output_tokens": 384}')


def number(value: float) -> str:
    """For people: "1,048,576", "0.5"."""
    return f"{value:,.10g}"


def _wrong(value: Any, kind_of: Callable[[object], Kind]) -> str | None:
    if not isinstance(value, dict):
        return f"is no JSON object; write a line like {example()}"
    if "arrival_s" not in value:
        return f"lacks arrival_s, when the prompt comes; write a line like {example(kind_of(value.get('model')))}"
    types = {field.name: field.type for field in msgspec.structs.fields(TraceLine)}
    for key, given in value.items():
        if key not in types:
            return f"there is no {_shown(key)}; a line may have {', '.join(types)}"
        try:
            msgspec.json.decode(msgspec.json.encode(given), type=types[key])
        except msgspec.ValidationError:
            return f"{key} is {_shown(given)}; it must be {_MUST_BE[key]}"
    return None


def _shown(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = number(value) if is_number else msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"

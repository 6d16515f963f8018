"""Settings as `aquahost config show` writes them: complete, with origins, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from aquahost.config.kinds import takes
from aquahost.config.loader import Loaded
from aquahost.config.mistakes import KeyPath, dotted
from aquahost.config.schema import is_secret

MASK = "********"


def shown_values(loaded: Loaded) -> dict[str, Any]:
    """All settings as nested plain values; of a model, those that its kind takes."""
    values: dict[str, Any] = _masked(loaded.settings.model_dump(mode="json"), ())
    for name, model in loaded.settings.models.items():
        values["models"][name] = {key: value for key, value in values["models"][name].items() if takes(model.kind, key)}
    return values


def shown_origins(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """By dotted key, its value and where that came from."""
    return {
        dotted(path): {"value": value, "origin": loaded.origin(path)}
        for path, value in _leaves(shown_values(loaded), ())
    }


def shown_yaml(loaded: Loaded, *, origins: bool) -> str:
    """All settings as YAML; with `origins`, each value with a comment on where it came from."""
    lines = list(_lines(shown_values(loaded), ()))
    width = max(len(text) for text, _ in lines)
    if not origins:
        return "".join(f"{text}\n" for text, _ in lines)
    return "".join(
        f"{text}\n" if path is None else f"{text.ljust(width)}  # {loaded.origin(path)}\n" for text, path in lines
    )


def _masked(value: Any, path: KeyPath) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item, (*path, key)) for key, item in value.items()}
    return MASK if value is not None and is_secret(path) else value


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _lines(value: dict[str, Any], path: KeyPath) -> Iterator[tuple[str, KeyPath | None]]:
    """Lines of YAML, each with the key whose value it holds, or None for the head of a section."""
    indent = "  " * len(path)
    for key, item in value.items():
        inner = (*path, key)
        if isinstance(item, dict) and item:
            yield f"{indent}{_key(key)}:", None
            yield from _lines(item, inner)
        else:
            yield f"{indent}{_key(key)}: {_scalar(item)}", inner


def _key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key)


def _scalar(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return (
        text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text
    )  # 1e-05 is text in YAML 1.1

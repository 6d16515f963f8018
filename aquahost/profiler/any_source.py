"""An entry for a model that no models.yaml names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aquahost.config.settings import Kind, ModelSettings
from aquahost.errors import ConfigError
from aquahost.profiler.config_files import config_folder

_AUDIO_TYPES = ("musicgen", "musicgen_melody")


def entry_of(source: str, kind: Kind | None) -> ModelSettings:
    """A default entry of this source, of its kind as its config tells. Raises ConfigError if it has none."""
    if kind is None:
        kind = _kind_of(config_folder(source, ModelSettings(kind=Kind.LLM, source=source)))
    return ModelSettings(kind=kind, source=source)


def _kind_of(folder: Path) -> Kind:
    """Pipelines make images unless their class's name says sound; of transformers' models some make sounds."""
    index = folder / "model_index.json"
    if index.is_file():
        name = str(_read(index).get("_class_name")).lower()
        return Kind.AUDIO if "audio" in name or "music" in name else Kind.IMAGE
    return Kind.AUDIO if _read(folder / "config.json").get("model_type") in _AUDIO_TYPES else Kind.LLM


def _read(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file} is damaged: it is no JSON object")
    return value

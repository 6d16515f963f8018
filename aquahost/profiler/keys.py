"""Keys of profiles: they change with whatever a profile's figures depend on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from aquahost.config.settings import Kind, ModelSettings
from aquahost.profiler.achieved import COST_MODEL
from aquahost.profiler.config_files import PATTERNS
from aquahost.profiles.data_sheets import DataSheet

_OF_LANGUAGE = ("block_tokens", "max_context")
_OF_GATED = ("steps", "guidance", "size_px", "max_size_px", "max_duration_s")
MEASURING = 1
"""Part of every measured profile's key; raised whenever it is measured in another way."""


def analytic_key(folder: Path, settings: ModelSettings, sheet: DataSheet, *, step_tokens: int, max_batch: int) -> str:
    """Of a profile worked out from the config in `folder` and a data sheet."""
    rates = {name: getattr(sheet, name) for name in sheet.__slots__}
    return _digest(folder, settings, {"sheet": rates, "model": COST_MODEL}, step_tokens, max_batch)


def measured_key(folder: Path, settings: ModelSettings, *, step_tokens: int, max_batch: int) -> str:
    """Of a profile measured with the model in `folder`."""
    return _digest(folder, settings, {"measuring": MEASURING}, step_tokens, max_batch)


def _digest(folder: Path, settings: ModelSettings, more: dict[str, Any], step_tokens: int, max_batch: int) -> str:
    language = settings.kind is Kind.LLM
    facts = {
        "kind": settings.kind.value,
        "dtype": settings.dtype,
        "group": settings.tensor_parallel,
        "settings": {key: getattr(settings, key) for key in (_OF_LANGUAGE if language else _OF_GATED)},
        "step": [step_tokens, max_batch] if language else [],
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for pattern in PATTERNS
            for path in sorted(folder.glob(pattern))
            if path.name != "tokenizer_config.json"
        },
    }
    text = json.dumps(msgspec.to_builtins(facts | more), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""Which models a maltreated daemon hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aquahost.bench.tiny_llama import KV_BYTES_PER_TOKEN, make_tiny_llama

_GPU_BYTES = "256MiB"
_KV_TOKENS = 512
"""Of the language model on its own GPU: fewer than its prompts hold, so that it borrows and pages."""
_TOY = {"kind": "toy", "max_context": 256, "toy": {"load_s": 0, "step_s": "2ms"}}
_PAINT = {"kind": "image", "source": "demo:paint", "size_px": 64, "max_size_px": 64, "steps": 12, "max_steps": 16}
_SING = {"kind": "audio", "source": "demo:sing", "max_duration_s": 1}
ADMIN_KEY = "the-key-of-chaos"


def write_models(folder: Path, *, toys_only: bool, with_sound: bool = False) -> Path:
    """A models.yaml in `folder` of toys alone, which are back within a second of their death; or of a toy, the small
    Llama and the demo's image model, and of its audio model too `with_sound`."""
    models: dict[str, Any] = {"toy": _TOY, "toy2": _TOY, "toy3": _TOY}
    if not toys_only:
        source = make_tiny_llama(folder / "tiny")
        tiny = {"kind": "llm", "source": str(source), "gpu": 0, "max_context": 256}
        models = {
            "toy": _TOY,
            "tiny": {**tiny, "kv_bytes": _KV_TOKENS * KV_BYTES_PER_TOKEN},
            "paint": {**_PAINT, "gpu": 1},
            **({"sing": {**_SING, "gpu": 2}} if with_sound else {}),
        }
    settings = {
        "host": {"driver": "emulated", "emulated": {"gpus": 4, "gpu_bytes": _GPU_BYTES}, "admin_key": ADMIN_KEY},
        "leasing": {"park_after_s": None},
        "models": models,
    }
    path = folder / "models.yaml"
    path.write_text(json.dumps(settings, indent=2))  # JSON is YAML
    return path

"""The number format that weights are loaded in, for every engine."""

from __future__ import annotations

import torch

from aquahost.config.settings import ModelSettings

_STATED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_dtype(settings: ModelSettings, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """The entry's dtype; "auto" is the checkpoint's (`stored`) on a GPU, and float32 on a CPU."""
    if settings.dtype != "auto":
        return _STATED[settings.dtype]
    return torch.float32 if device.type == "cpu" else stored

"""The parts of a diffusers pipeline, built from their configs on torch's meta device."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aquahost.config.settings import ModelSettings
from aquahost.engines.diffusion.load import load_errors
from aquahost.engines.diffusion.pipeline_folder import call_parameters, read_index
from aquahost.engines.dtypes import choose_dtype
from aquahost.errors import LoadError
from aquahost.profiler.operations import META

TEXT_TOKENS = 128
"""Length of a text where its encoder does not say: pipelines cut or pad texts to 77 to 512 tokens."""
DEFAULT_STEPS = 50
"""Where neither entry nor pipeline says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineParts:
    """A pipeline's models."""

    parameters_of_call: Mapping[str, inspect.Parameter]
    """What its call takes; empty if it comes as code with the model."""
    modules: Mapping[str, Any]
    dtype: torch.dtype
    widens: bool
    """Whether it makes an autoencoder that overflows in float16 float32 for the decode, as SDXL's does."""

    @property
    def parameters(self) -> int:
        """Of all its models."""
        return sum(p.numel() for module in self.modules.values() for p in module.parameters())

    @property
    def denoiser(self) -> Any:
        """The model that each step runs. Raises LoadError if there is none of a known name."""
        for name in ("unet", "transformer"):
            if name in self.modules:
                return self.modules[name]
        raise LoadError("it has neither a unet nor a transformer, so what its steps cost can't be told")

    @property
    def text_encoders(self) -> list[Any]:
        """The models that read its text."""
        return [module for name, module in self.modules.items() if name.startswith("text_encoder")]

    @property
    def autoencoder(self) -> Any:
        """What makes images or sounds of latents. Raises LoadError if there is none of a known name."""
        if "vae" not in self.modules:
            raise LoadError("it has no vae, so what its last step costs can't be told")
        return self.modules["vae"]

    def rows(self, settings: ModelSettings) -> int:
        """Latents that a step computes for one request: two where guidance is classifier-free."""
        guidance = settings.guidance
        if guidance is None:
            parameter = self.parameters_of_call.get("guidance_scale")
            if "true_cfg_scale" in self.parameters_of_call:  # a model distilled for guidance
                return 1
            guidance = parameter.default if parameter and isinstance(parameter.default, int | float) else 0.0
        return 2 if guidance > 1 else 1

    def default_steps(self, settings: ModelSettings) -> int:
        """Steps where a request does not say."""
        parameter = self.parameters_of_call.get("num_inference_steps")
        default = parameter.default if parameter else None
        return settings.steps or (default if isinstance(default, int) else DEFAULT_STEPS)


def build_parts(folder: Path, settings: ModelSettings) -> PipelineParts:
    """The pipeline whose configs lie in `folder`. Raises LoadError saying why it can't be built."""
    pipeline_class, parts = read_index(folder, trust_remote_code=settings.trust_remote_code)
    modules: dict[str, Any] = {}
    dtype = choose_dtype(settings, META, _stated_dtype(folder))
    for part in parts:
        if (folder / part.name / "config.json").is_file() and _is_model(part.part_class):
            with load_errors(folder / part.name), META:
                modules[part.name] = _build(part.part_class, folder / part.name).eval()
    for module in modules.values():
        nn.Module.to(module, dtype)  # past diffusers' own, which warns
    if not modules:
        raise LoadError(f"{folder} has no config.json of any of the parts in its model_index.json")
    call = call_parameters(pipeline_class) if pipeline_class is not None else {}
    widens = hasattr(pipeline_class, "upcast_vae")
    return PipelineParts(parameters_of_call=call, modules=modules, dtype=dtype, widens=widens)


def text_length(encoder: Any) -> int:
    """Tokens of a text, as its encoder reads it."""
    config = encoder.config
    stated = getattr(config, "max_position_embeddings", None)
    return min(stated, TEXT_TOKENS) if isinstance(stated, int) else TEXT_TOKENS


def _is_model(part_class: Any) -> bool:
    return inspect.isclass(part_class) and issubclass(part_class, nn.Module)


def _build(part_class: Any, folder: Path) -> Any:
    import transformers

    if issubclass(part_class, transformers.PreTrainedModel):
        return part_class(part_class.config_class.from_pretrained(folder))
    return part_class.from_config(part_class.load_config(folder))


def _stated_dtype(folder: Path) -> torch.dtype:
    """What a part's config says its weights are in; float16 where none does, as they are served from GPUs."""
    for file in sorted(folder.glob("*/config.json")):
        try:
            config = json.loads(file.read_text("utf-8"))
        except ValueError:
            continue  # building that part will say so
        stated = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
        if isinstance(stated, torch.dtype):
            return stated
    return torch.float16

"""Loading a diffusers pipeline onto a GPU, part by part."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from aquahost.config.settings import ModelSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.diffusion.pipeline_folder import Component, PipelineFolder
from aquahost.engines.dtypes import choose_dtype
from aquahost.engines.engine import ReportProgress
from aquahost.errors import LoadError
from aquahost.messages.wire import LoadProgress

_STORED = {"F64": torch.float32, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPipeline:
    """A pipeline whose weights lie on the GPU. It is a template: prompts run on copies of it."""

    pipeline: Any
    dtype: torch.dtype
    weights_bytes: int


def stored_dtype(name: str | None) -> torch.dtype:
    """The dtype to use for weights that safetensors names `name`; float32 where torch computes in no such format."""
    return _STORED.get(name or "", torch.float32)


def load_pipeline(
    folder: PipelineFolder, settings: ModelSettings, device: EngineDevice, report: ReportProgress
) -> LoadedPipeline:
    """Raises LoadError if it doesn't fit (before any weight is read) or can't be read."""
    import diffusers

    largest = max(folder.components, key=lambda component: component.weights.loaded_bytes(None))
    dtype = choose_dtype(settings, device.torch_device, stored_dtype(largest.weights.float_dtype))
    sizes_bytes = {part.name: part.weights.loaded_bytes(dtype.itemsize) for part in folder.components}
    total_bytes = sum(sizes_bytes.values())
    device.require(total_bytes, f"the weights of {folder.class_name}")
    report(LoadProgress("loading weights", 0, total_bytes))
    parts: dict[str, Any] = {}
    placed_bytes = loaded_bytes = 0
    for component in folder.components:
        module = _load_component(folder.path, component, dtype)
        placed_bytes += device.place(module)
        parts[component.name] = module
        loaded_bytes += sizes_bytes[component.name]
        report(LoadProgress("loading weights", loaded_bytes, total_bytes))
    with load_errors(folder.path):
        pipeline = (folder.pipeline_class or diffusers.DiffusionPipeline).from_pretrained(
            folder.path,
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
            local_files_only=True,
            torch_dtype=dtype,
            **parts,
        )
    rest = [part for name, part in _modules(pipeline).items() if name not in parts]
    placed_bytes += device.place(*rest) if rest else 0
    pipeline.set_progress_bar_config(disable=True)
    return LoadedPipeline(pipeline=pipeline, dtype=dtype, weights_bytes=placed_bytes)


def _load_component(path: Path, component: Component, dtype: torch.dtype) -> torch.nn.Module:
    import transformers

    is_transformer = issubclass(component.component_class, transformers.PreTrainedModel)
    with load_errors(path / component.name):
        module: torch.nn.Module = component.component_class.from_pretrained(
            path / component.name,
            use_safetensors=True,
            local_files_only=True,
            variant=component.weights.variant,
            # The two libraries name the same thing differently.
            **({"dtype": dtype} if is_transformer else {"torch_dtype": dtype}),
        )
    return module.eval()


def _modules(pipeline: Any) -> dict[str, torch.nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


@contextmanager
def load_errors(path: Path) -> Iterator[None]:
    """Whatever a library raises for a model it can't load becomes a LoadError that names `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # deprecations inside the libraries
            yield
    except LoadError:
        raise
    except (
        OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError
    ) as error:  # fmt: skip
        raise LoadError(f"{path} can't be loaded: {type(error).__name__}: {error}") from error

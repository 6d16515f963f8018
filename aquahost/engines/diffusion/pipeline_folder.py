"""A diffusers pipeline's folder, understood before any weight is read."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquahost.engines.checkpoint import Checkpoint, find_weights
from aquahost.errors import LoadError


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What model_index.json names: a model, a tokenizer, a scheduler."""

    name: str
    stated: str
    """Its library and class, as stated."""
    part_class: Any
    """None if the installed libraries have no such class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of the pipeline that has weights."""

    name: str
    component_class: Any
    weights: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFolder:
    """What model_index.json and the files' headers say."""

    path: Path
    pipeline_class: Any
    """None if it comes as code with the model; then only loading shows what it is."""
    components: tuple[Component, ...]

    @property
    def class_name(self) -> str:
        """The pipeline's class, for people."""
        return "custom pipeline" if self.pipeline_class is None else str(self.pipeline_class.__name__)


def read_pipeline_folder(path: Path, *, trust_remote_code: bool) -> PipelineFolder:
    """Raises LoadError, saying why, if `path` is no pipeline or can't be loaded safely."""
    pipeline_class, parts = read_index(path, trust_remote_code=trust_remote_code)
    components = []
    for part in parts:
        folder = path / part.name
        weights = find_weights(folder) if folder.is_dir() else None
        if weights is None:
            continue
        if part.part_class is not None:
            components.append(Component(name=part.name, component_class=part.part_class, weights=weights))
        elif not trust_remote_code:
            raise LoadError(
                f"{path}: the part {part.name!r} is a {part.stated}, which the installed diffusers and "
                "transformers do not have; if it comes as code with the model and you trust it, set trust_remote_code"
            )
    if not components:
        raise LoadError(f"{path} has no weights: none of the parts in its model_index.json has a safetensors file")
    return PipelineFolder(path=path, pipeline_class=pipeline_class, components=tuple(components))


def read_index(path: Path, *, trust_remote_code: bool) -> tuple[Any, list[Part]]:
    """The pipeline's class (None if it comes as code with the model) and its parts. Raises LoadError if `path` is no
    pipeline, or if its class is not to be had."""
    index = _read_index(path)
    pipeline_class = _find_pipeline_class(path, index.get("_class_name"), trust_remote_code)
    parts = [
        Part(name=name, stated=f"{entry[0]}.{entry[1]}", part_class=_find_component_class(str(entry[0]), str(entry[1])))
        for name, entry in index.items()
        if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and entry[0] is not None
    ]
    return pipeline_class, parts


def call_parameters(pipeline_class: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a pipeline's call, by name."""
    return {name: p for name, p in inspect.signature(pipeline_class.__call__).parameters.items() if name != "self"}


def _read_index(path: Path) -> dict[str, Any]:
    file = path / "model_index.json"
    if not file.is_file():
        hint = "; it has a config.json, so it may be a transformers model" if (path / "config.json").is_file() else ""
        raise LoadError(f"{path} is no diffusers pipeline: it has no model_index.json{hint}")
    try:
        index = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise LoadError(f"{file} is damaged: {error}") from error
    if not isinstance(index, dict):
        raise LoadError(f"{file} is damaged: it is no JSON object")
    return index


def _find_pipeline_class(path: Path, entry: object, trust_remote_code: bool) -> Any:
    import diffusers

    if isinstance(entry, list):
        if not trust_remote_code:
            raise LoadError(
                f"{path} brings its own pipeline code ({entry[0]}); if you trust it, set trust_remote_code: true"
            )
        return None
    found = getattr(diffusers, entry, None) if isinstance(entry, str) else None
    if not (inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)):
        raise LoadError(f"{path}: the installed diffusers {diffusers.__version__} has no pipeline {entry!r}")
    return found


def _find_component_class(library: str, class_name: str) -> Any:
    """A part's class, looked up as diffusers does: a library of its own, or one of its pipelines' modules."""
    import diffusers
    import transformers

    modules = {"diffusers": diffusers, "transformers": transformers}
    module = modules.get(library) or getattr(diffusers.pipelines, library, None)
    return getattr(module, class_name, None)

"""From a source to a folder: what counts as a folder, and what is fetched from the hub."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from aquahost.config.settings import Kind, ModelSettings
from aquahost.engines.source import resolve_source
from aquahost.errors import LoadError

TRANSFORMERS = ["config.json", "tokenizer.model", "model.safetensors", "consolidated.safetensors",
                "model.fp16.safetensors", "original/consolidated.00.pth", "onnx/model.onnx"]  # fmt: skip
SHARDED = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
           "model-00002-of-00002.safetensors", "consolidated.safetensors"]  # fmt: skip
DIFFUSERS = ["model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors",
             "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
             "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
             "vae/diffusion_pytorch_model-00001-of-00001.safetensors", "text_encoder/model.safetensors",
             "text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin",
             "tokenizer/vocab.json", "tokenizer/merges.txt"]  # fmt: skip
ONLY_HALF = ["model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors"]


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., set[str]]:
    """Resolves a hub id as if its repository had these files; returns those that were fetched."""
    import huggingface_hub

    def run(files: list[str], kind: Kind, **settings: object) -> set[str]:
        def download(source: str, *, revision: str | None, allow_patterns: list[str]) -> str:
            for name in files:
                if any(fnmatch(name, pattern) for pattern in allow_patterns):
                    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / name).touch()
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        folder = resolve_source(ModelSettings(kind=kind, source="org/name", **settings))  # type: ignore[arg-type]
        return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}

    return run


def test_of_a_transformers_repository_the_loaded_weights_alone_are_fetched(fetch: Callable[..., set[str]]) -> None:
    assert fetch(TRANSFORMERS, Kind.LLM) == set(TRANSFORMERS[:3])


def test_all_shards_are_fetched(fetch: Callable[..., set[str]]) -> None:
    assert fetch(SHARDED, Kind.LLM) == set(SHARDED[:4])


@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.AUDIO])
def test_of_a_pipeline_its_parts_are_fetched_in_one_variant(kind: Kind, fetch: Callable[..., set[str]]) -> None:
    unwanted = {name for name in DIFFUSERS if "pruned" in name or "fp16" in name or "non_ema" in name or "bin" in name}
    assert fetch(DIFFUSERS, kind) == set(DIFFUSERS) - unwanted


def test_variants_are_fetched_where_there_is_nothing_else(fetch: Callable[..., set[str]]) -> None:
    assert fetch(ONLY_HALF, Kind.IMAGE) == set(ONLY_HALF)


def test_code_is_fetched_only_from_those_who_are_trusted(fetch: Callable[..., set[str]]) -> None:
    files = ["config.json", "model.safetensors", "modeling_own.py"]
    assert "modeling_own.py" not in fetch(files, Kind.LLM)
    assert "modeling_own.py" in fetch(files, Kind.LLM, trust_remote_code=True)


def test_a_folder_beside_the_process_does_not_hide_a_hub_id(
    fetch: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here" / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert "config.json" in fetch(["config.json", "model.safetensors"], Kind.LLM)


@pytest.mark.parametrize("source", ["./model", "../model", "models/chat/small"])
def test_relative_folders_are_no_sources(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The configuration resolves them against its own place before they come here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "chat" / "small").mkdir(parents=True)
    with pytest.raises(LoadError, match="there is no folder"):
        resolve_source(ModelSettings(kind=Kind.LLM, source=source))

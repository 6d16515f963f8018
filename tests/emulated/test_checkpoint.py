"""Which weight files of a folder count: those that transformers or diffusers would load, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aquahost.engines.checkpoint import find_weights, read_checkpoint
from aquahost.errors import LoadError


def save(file: Path, values: int = 1000, dtype: torch.dtype = torch.float32) -> None:
    save_file({f"{file.stem}.weight": torch.zeros(values).to(dtype)}, file)


def index(folder: Path, name: str, *shards: str) -> None:
    weights = {f"{Path(shard).stem}.weight": shard for shard in shards}
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def test_only_the_file_that_is_loaded_counts(tmp_path: Path) -> None:
    for name in ("model", "consolidated", "model.fp16", "adapter_model"):
        save(tmp_path / f"{name}.safetensors")
    (tmp_path / "consolidated.safetensors").write_bytes(b"damaged")
    checkpoint = read_checkpoint(tmp_path)
    assert [file.name for file in checkpoint.files] == ["model.safetensors"]
    assert checkpoint.variant is None
    assert checkpoint.stored_bytes == checkpoint.loaded_bytes(4) == 4000
    assert checkpoint.loaded_bytes(2) == 2000


def test_an_index_names_the_files(tmp_path: Path) -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for name in [*shards, "model-00001-of-00009.safetensors", "consolidated.safetensors"]:
        save(tmp_path / name)
    with pytest.raises(LoadError, match=r"no model\.safetensors\.index\.json"):
        find_weights(tmp_path)
    index(tmp_path, "model.safetensors.index.json", *shards)
    assert [file.name for file in read_checkpoint(tmp_path).files] == shards
    (tmp_path / shards[1]).unlink()
    with pytest.raises(LoadError, match=r"lacks model-00002-of-00002\.safetensors, which .*index\.json names"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": {"a": "../other.safetensors"}}', '{"weight_map": {}}'])
def test_a_damaged_index_is_named(content: str, tmp_path: Path) -> None:
    save(tmp_path / "other.safetensors")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.safetensors.index.json").write_text(content)
    with pytest.raises(LoadError, match=r"sub/model\.safetensors\.index\.json is damaged"):
        read_checkpoint(tmp_path / "sub")


def test_each_librarys_own_choice_between_one_file_and_an_index(tmp_path: Path) -> None:
    """transformers takes the single file where there are both, diffusers the index."""
    for stem, chosen in (("model", "model"), ("diffusion_pytorch_model", "diffusion_pytorch_model-00001-of-00001")):
        folder = tmp_path / stem
        folder.mkdir()
        save(folder / f"{stem}.safetensors")
        save(folder / f"{stem}-00001-of-00001.safetensors")
        index(folder, f"{stem}.safetensors.index.json", f"{stem}-00001-of-00001.safetensors")
        assert [file.stem for file in read_checkpoint(folder).files] == [chosen]


def test_a_variant_counts_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "model.fp16.safetensors", dtype=torch.float16)
    weights = find_weights(tmp_path)
    assert weights is not None
    assert (weights.variant, weights.float_dtype, weights.stored_bytes) == ("fp16", "F16", 2000)
    (tmp_path / "sharded").mkdir()
    save(tmp_path / "sharded" / "diffusion_pytorch_model.fp16-00001-of-00001.safetensors", dtype=torch.float16)
    index(tmp_path / "sharded", "diffusion_pytorch_model.safetensors.index.fp16.json",
          "diffusion_pytorch_model.fp16-00001-of-00001.safetensors")  # fmt: skip
    weights = find_weights(tmp_path / "sharded")
    assert weights is not None
    assert (weights.variant, weights.stored_bytes) == ("fp16", 2000)


def test_the_file_that_a_config_states_is_the_one(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors")
    save(tmp_path / "other.safetensors")
    assert [file.name for file in read_checkpoint(tmp_path, stated="other.safetensors").files] == ["other.safetensors"]
    with pytest.raises(LoadError, match=r"lacks none\.safetensors"):
        read_checkpoint(tmp_path, stated="none.safetensors")


def test_eight_bit_floats_are_floats_and_bytes(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", dtype=torch.float8_e4m3fn)
    checkpoint = read_checkpoint(tmp_path)
    assert (checkpoint.loaded_bytes(), checkpoint.loaded_bytes(2), checkpoint.float_dtype) == (1000, 2000, None)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert find_weights(tmp_path) is None
    with pytest.raises(LoadError, match="has no safetensors weights"):
        read_checkpoint(tmp_path)
    save(tmp_path / "consolidated.safetensors")
    with pytest.raises(LoadError, match=r"consolidated\.safetensors is not a name that is looked for"):
        read_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"only as pytorch_model\.bin, a pickle"):
        find_weights(tmp_path)

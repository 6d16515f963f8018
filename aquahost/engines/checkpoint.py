"""Which weight files of a folder are loaded and what they hold, read from their headers alone: what a load will take
is known before it."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from aquahost.errors import LoadError

_DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "F8_E8M0": 1,
}  # fmt: skip
_COMPUTED_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_FLOATS = _COMPUTED_FLOATS | {dtype for dtype in _DTYPE_BYTES if dtype.startswith("F8")}
_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit

_OF_DIFFUSERS = "diffusion_pytorch_model"
_STEM, _VARIANT = rf"^(?P<stem>model|{_OF_DIFFUSERS})", r"(?:\.(?P<variant>[^.\-]+))?"
_SINGLE = re.compile(rf"{_STEM}{_VARIANT}\.safetensors$")
_INDEX = re.compile(rf"{_STEM}\.safetensors\.index{_VARIANT}\.json$")
_SHARD = re.compile(rf"{_STEM}{_VARIANT}-\d+-of-\d+\.safetensors$")
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorHeader:
    """One tensor of a checkpoint."""

    name: str
    dtype: str
    """As safetensors spells it: "F32", "BF16", …"""
    values: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The safetensors files of one model, of one variant ("fp16") or of none."""

    files: tuple[Path, ...]
    variant: str | None
    tensors: tuple[TensorHeader, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors as they lie in the files."""
        return sum(tensor.stored_bytes for tensor in self.tensors)

    @property
    def float_dtype(self) -> str | None:
        """The dtype of most floating-point values, as safetensors names it, of those that models compute in."""
        values: Counter[str] = Counter()
        for tensor in self.tensors:
            if tensor.dtype in _COMPUTED_FLOATS:
                values[tensor.dtype] += tensor.values
        return max(values, key=values.__getitem__) if values else None

    def loaded_bytes(self, float_bytes: int | None = None) -> int:
        """Bytes of all tensors once floating-point ones have `float_bytes` each; None keeps them as stored."""
        return sum(
            tensor.values * float_bytes if float_bytes and tensor.dtype in _FLOATS else tensor.stored_bytes
            for tensor in self.tensors
        )


def read_checkpoint(folder: Path, *, stated: str | None = None) -> Checkpoint:
    """`find_weights`, or that of the file or index that the model's config states; LoadError if there are none."""
    if stated is not None:
        if not (folder / stated).is_file():
            raise LoadError(f"{folder} lacks {stated}, which its config states as its weights")
        return _read(_shards(folder / stated) if stated.endswith(".index.json") else (folder / stated,), None)
    found = find_weights(folder)
    if found is None:
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        hint = f" ({others[0]} is not a name that is looked for, as model.safetensors is)" if others else ""
        raise LoadError(f"{folder} has no safetensors weights{hint}")
    return found


def find_weights(folder: Path) -> Checkpoint | None:
    """The weights in `folder` itself that transformers or diffusers would load; None if there are none of theirs.

    That is the single file or what the index names; a variant only where there is nothing else. Raises LoadError if
    the weights are in another format, or naming the file that is missing or no sound safetensors file.
    """
    names = sorted(path.name for path in folder.iterdir())
    by_variant: dict[tuple[str | None, str], set[str]] = {}
    for name in names:
        match = _SINGLE.match(name) or _INDEX.match(name)
        if match:
            by_variant.setdefault((match["variant"], match["stem"]), set()).add(name)
    if not by_variant:
        _refuse_others(folder, names)
        return None
    (variant, stem), candidates = min(by_variant.items(), key=lambda item: (item[0][0] or "", item[0][1]))
    index = next((name for name in candidates if name.endswith(".json")), None)
    single = next((name for name in candidates if name.endswith(".safetensors")), None)
    if index is not None and (single is None or stem == _OF_DIFFUSERS):  # transformers prefers the single file
        return _read(_shards(folder / index), variant)
    return _read((folder / str(single),), variant)


def _read(files: tuple[Path, ...], variant: str | None) -> Checkpoint:
    return Checkpoint(
        files=files, variant=variant, tensors=tuple(tensor for file in files for tensor in read_header(file))
    )


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, which lie beside it."""
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        if not names or any(Path(name).name != name for name in names):
            raise ValueError("it names no files, or files elsewhere")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"{index} is damaged: {error}; fetch or copy it again") from error
    for name in names:
        if not (index.parent / name).is_file():
            raise LoadError(f"{index.parent} lacks {name}, which {index.name} names; fetch or copy it again")
    return tuple(index.parent / name for name in names)


def _refuse_others(folder: Path, names: list[str]) -> None:
    """Raise LoadError for shards without an index, and for weights in another format."""
    shard = next((match for match in map(_SHARD.match, names) if match), None)
    if shard:
        raise LoadError(f"{folder} has {shard[0]} but no {shard['stem']}.safetensors.index.json; fetch or copy it")
    for name in names:
        if name.endswith(_PICKLE_SUFFIXES):
            raise LoadError(
                f"{folder} has its weights only as {name}, a pickle file, which can run any code when it is read. "
                "aquahost reads safetensors only: convert the model with save_pretrained(..., safe_serialization=True)"
            )
        if name.endswith(".gguf"):
            raise LoadError(f"{folder} has its weights only as {name}; aquahost reads safetensors only")


def read_header(file: Path) -> list[TensorHeader]:
    """The tensors of one safetensors file; LoadError names the file if it is damaged or cut short."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if not 2 <= length <= min(size - 8, _LARGEST_HEADER_BYTES):
                raise ValueError(f"its header claims {length} bytes, the file has {size}")
            header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = [_tensor(name, entry) for name, entry in header.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise LoadError(f"{file} is no sound safetensors file: {error}; fetch or copy it again") from error
    needed = 8 + length + sum(tensor.stored_bytes for tensor in tensors)
    if needed != size:
        raise LoadError(f"{file} is damaged: it has {size} bytes, its header says {needed}; fetch or copy it again")
    return tensors


def _tensor(name: str, entry: dict[str, Any]) -> TensorHeader:
    begin, end = entry["data_offsets"]
    dtype, values = str(entry["dtype"]), prod(entry["shape"])
    if dtype in _DTYPE_BYTES and values * _DTYPE_BYTES[dtype] != end - begin:
        raise ValueError(f"tensor {name} has {end - begin} bytes for {values} values of {dtype}")
    return TensorHeader(name=name, dtype=dtype, values=values, stored_bytes=end - begin)

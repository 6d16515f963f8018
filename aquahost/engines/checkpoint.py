"""What a folder's safetensors files hold, read from their headers alone: what a load will take is known before it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from aquahost.errors import LoadError

_DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit


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
    """All safetensors files below a folder."""

    files: tuple[Path, ...]
    tensors: tuple[TensorHeader, ...]

    @property
    def stored_bytes(self) -> int:
        """Bytes of all tensors as they lie in the files."""
        return sum(tensor.stored_bytes for tensor in self.tensors)

    def loaded_bytes(self, float_bytes: int | None = None) -> int:
        """Bytes of all tensors once floating-point ones have `float_bytes` each; None keeps them as stored."""
        return sum(
            tensor.values * float_bytes if float_bytes and tensor.dtype in _FLOATS else tensor.stored_bytes
            for tensor in self.tensors
        )


def read_checkpoint(folder: Path, *, pattern: str = "*.safetensors") -> Checkpoint:
    """Read the headers of the files that match `pattern` ("**/*.safetensors" looks into subfolders too).

    Raises LoadError if there are none, or naming the file that is no sound safetensors file.
    """
    files = tuple(sorted(folder.glob(pattern)))
    if not files:
        others = [p.name for p in folder.glob("**/*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".gguf")]
        hint = f" (it has {others[0]}; convert it with save_pretrained)" if others else ""
        raise LoadError(f"{folder} has no safetensors weights{hint}")
    return Checkpoint(files=files, tensors=tuple(tensor for file in files for tensor in read_header(file)))


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

"""What weights a model's folder holds, read from the files' headers alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aquahost.engines.checkpoint import read_header
from aquahost.errors import LoadError

_ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_NAME = re.compile(
    r"^(?:model|diffusion_pytorch_model)(?:\.(?P<variant>[^.\-]+))?(?:-\d+-of-\d+)?\.safetensors$",
)
_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFiles:
    """The safetensors files of one model, of one variant ("fp16") or of none."""

    paths: tuple[Path, ...]
    variant: str | None
    items: dict[str, int]
    """Number of elements by safetensors dtype ("F32", "BF16", …)."""

    @property
    def float_dtype(self) -> str | None:
        """The dtype of most floating-point elements, as safetensors names it."""
        floats = {name: count for name, count in self.items.items() if name in _FLOATS}
        return max(floats, key=floats.__getitem__) if floats else None

    def loaded_bytes(self, float_bytes: int | None) -> int:
        """Memory they take when floats become `float_bytes` wide each; None leaves them as stored."""
        return sum(
            count * (float_bytes if float_bytes is not None and name in _FLOATS else _ITEM_BYTES.get(name, 1))
            for name, count in self.items.items()
        )


def find_weights(folder: Path) -> WeightFiles | None:
    """The weights in `folder` itself; None if it holds none.

    Raises LoadError if there are only pickled weights, or if a header is damaged.
    """
    by_variant: dict[str | None, list[Path]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        match = _NAME.match(path.name)
        if match:
            by_variant.setdefault(match["variant"], []).append(path)
    if not by_variant:
        _refuse_pickles(folder)
        return None
    variant = None if None in by_variant else min(v for v in by_variant if v is not None)
    paths = tuple(by_variant[variant])
    return WeightFiles(paths=paths, variant=variant, items=_count_items(paths))


def _refuse_pickles(folder: Path) -> None:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise LoadError(
            f"{folder} has its weights only as {pickles[0]}, a pickle file, which can run any code when it is read. "
            "aquahost reads safetensors only: convert the model with save_pretrained(..., safe_serialization=True)"
        )


def _count_items(paths: Iterable[Path]) -> dict[str, int]:
    items: Counter[str] = Counter()
    for path in paths:
        for tensor in read_header(path):
            items[tensor.dtype] += tensor.values
    return dict(items)

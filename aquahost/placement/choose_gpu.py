"""The GPU for one model that is about to load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from aquahost.errors import LoadError
from aquahost.placement.preference import Preference


class GpuMemory(Protocol):
    """One GPU's memory, read just now."""

    @property
    def index(self) -> int: ...

    @property
    def free_bytes(self) -> int: ...


def choose_gpu(
    wanted: int | Literal["auto"],
    gpus: Sequence[GpuMemory],
    *,
    loading: Mapping[int, int],
    loaded: Mapping[int, int],
    promised: Mapping[int, int] | None = None,
    preferred: Preference | None = None,
) -> int:
    """The GPU's index: `wanted` if it exists, and for "auto" the preferred one if the model has room there, else the
    one with most free memory.

    Memory of models that are being loaded still reads as free. `promised` says by GPU how many bytes they will take, as
    far as a plan says; `loading` counts the others, each of which is assumed to take as large a share as the newcomer
    would. `loaded` counts those that are there; fewer win where memory is equal, then the lowest index. Raises
    LoadError naming the GPUs there are.
    """
    if not gpus:
        raise LoadError("this machine has no GPU")
    room = _room(gpus, loading, promised)
    if wanted == "auto" and preferred is not None and room.get(preferred.gpu, -1) >= preferred.floor_bytes:
        return preferred.gpu
    if wanted == "auto":
        return min(room, key=lambda gpu: (-room[gpu], loaded.get(gpu, 0), gpu))
    if all(gpu.index != wanted for gpu in gpus):
        names = ", ".join(str(gpu.index) for gpu in gpus)
        raise LoadError(f"gpu: {wanted} does not exist; this machine has {'GPU' if len(gpus) == 1 else 'GPUs'} {names}")
    return wanted


def has_planned_room(
    preferred: Preference,
    gpus: Sequence[GpuMemory],
    *,
    loading: Mapping[int, int] | None = None,
    promised: Mapping[int, int] | None = None,
) -> bool:
    """Whether all that the plan has a model take is free on the preferred GPU; the rest as for `choose_gpu`."""
    return _room(gpus, loading or {}, promised).get(preferred.gpu, -1) >= preferred.planned_bytes


def _room(gpus: Sequence[GpuMemory], loading: Mapping[int, int], promised: Mapping[int, int] | None) -> dict[int, int]:
    """By GPU, what a newcomer may take."""
    taken = promised or {}
    return {
        gpu.index: max(0, gpu.free_bytes - taken.get(gpu.index, 0)) // (1 + loading.get(gpu.index, 0)) for gpu in gpus
    }

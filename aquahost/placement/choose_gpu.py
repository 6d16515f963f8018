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
    preferred: Preference | None = None,
) -> int:
    """The GPU's index: `wanted` if it exists, and for "auto" the preferred one if the model has room there, else the
    one with most free memory.

    `loading` counts models by the GPU they are being loaded on, whose memory still reads as free: each is assumed to
    take as large a share of it as the newcomer would. `loaded` counts those that are there; fewer win where memory is
    equal, then the lowest index. Raises LoadError naming the GPUs there are.
    """
    if not gpus:
        raise LoadError("this machine has no GPU")
    if wanted == "auto" and preferred is not None:
        room = (gpu.free_bytes for gpu in gpus if gpu.index == preferred.gpu)
        if any(free_bytes >= preferred.floor_bytes for free_bytes in room):
            return preferred.gpu
    if wanted == "auto":
        best = min(
            gpus,
            key=lambda gpu: (-(gpu.free_bytes // (1 + loading.get(gpu.index, 0))), loaded.get(gpu.index, 0), gpu.index),
        )
        return best.index
    if all(gpu.index != wanted for gpu in gpus):
        names = ", ".join(str(gpu.index) for gpu in gpus)
        raise LoadError(f"gpu: {wanted} does not exist; this machine has {'GPU' if len(gpus) == 1 else 'GPUs'} {names}")
    return wanted

"""How much memory a piece of work takes: what is alive at its worst instant, and while it sleeps at its gate."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryMeter(Protocol):
    """Reads of one measurement."""

    def alive_bytes(self) -> int:
        """Memory taken since the measurement began and not given back."""
        ...

    def peak_bytes(self) -> int:
        """The most there has been of it."""
        ...


@contextmanager
def measuring(device: torch.device) -> Iterator[MemoryMeter]:
    """Measure what this thread's work within the block allocates on `device`, beyond what there was before."""
    if device.type == "cuda":
        yield _CudaMeter(device)
    else:
        meter = _StorageMeter()
        with meter:
            yield meter


class _CudaMeter:
    """What torch's allocator says. Its peak is of what it took from the GPU, which is more than tensors had of it."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        self._device = device
        self._allocated_bytes = torch.cuda.memory_allocated(device)
        self._reserved_bytes = torch.cuda.memory_reserved(device)

    def alive_bytes(self) -> int:
        return torch.cuda.memory_allocated(self._device) - self._allocated_bytes

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_reserved(self._device) - self._reserved_bytes


class _StorageMeter(TorchDispatchMode):
    """Follows every storage that operations make until it is freed, since a CPU's allocator keeps no count.

    Memory that a kernel takes and frees within one operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._alive_bytes = 0
        self._peak_bytes = 0

    def alive_bytes(self) -> int:
        return self._alive_bytes

    def peak_bytes(self) -> int:
        return self._peak_bytes

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # What an operation takes and no earlier one has made was there before: weights, and views of them it returns.
        self._note((args, kwargs), is_new=False)
        result = func(*args, **(kwargs or {}))
        self._note(result, is_new=True)
        return result

    def _note(self, values: Any, *, is_new: bool) -> None:
        for value in tree_leaves(values):
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                storage = value.untyped_storage()
                if id(storage) not in self._known:
                    self._follow(storage, storage.nbytes() if is_new else 0)

    def _follow(self, storage: torch.UntypedStorage, nbytes: int) -> None:
        key = id(storage)

        def freed(_: object) -> None:
            del self._known[key]
            self._alive_bytes -= nbytes

        self._known[key] = weakref.ref(storage, freed)
        self._alive_bytes += nbytes
        self._peak_bytes = max(self._peak_bytes, self._alive_bytes)

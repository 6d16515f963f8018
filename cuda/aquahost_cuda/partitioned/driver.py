"""Each GPU shown as several smaller ones: for owners of one large GPU, and to try on one what needs many."""

from __future__ import annotations

from typing import Any

from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.partitioned.gpu_calls import GpuCalls
from aquahost_cuda.partitioned.memory_calls import MemoryCalls
from aquahost_cuda.partitioned.parts import Parts
from aquahost_cuda.protocol import Driver


class PartitionedDriver(GpuCalls, MemoryCalls):
    """A driver whose every GPU appears as `parts` logical ones, each with its share of the memory as a budget.

    The budgets are shared by all processes that name the same folder. Memory counts from cuMemCreate until its handles
    and mappings are gone, and more than the budget is CUDA_ERROR_OUT_OF_MEMORY; what is allocated past this object (by
    torch) is told by `charge_external`, and imported memory counts for its exporter alone. Parts of one GPU reach each
    other's memory. They share its context, compute and address space: accounting is all that keeps them apart.

    It has every function of the Driver protocol; those that concern no GPU are the underlying driver's own.
    """

    def __init__(self, driver: Driver, parts: int, path: str, *, spare_bytes: int = 0) -> None:
        """Take over an initialised driver. `path` is a folder for the record of who holds how much; `spare_bytes` of
        each physical GPU are in no budget, for contexts and whatever else nobody counts.

        Raises DriverError, OSError, or ValueError where a part would be empty or others have the folder open in another
        shape.
        """
        shared = Parts(driver, parts, path, spare_bytes)
        GpuCalls.__init__(self, shared)
        MemoryCalls.__init__(self, shared)
        self._parts = shared
        self.underlying = driver
        """The driver that knows the physical GPUs."""

    def __getattr__(self, name: str) -> Any:
        if not name.lower().startswith("cu"):
            raise AttributeError(name)
        return getattr(self.underlying, name)

    def physical_index(self, gpu: int) -> int:
        """The underlying driver's number of the GPU that a logical one is part of."""
        return self._parts.physical_index(gpu)

    def memory_of(self, gpu: int) -> tuple[int, int]:
        """(free, total) bytes of a logical GPU's budget, all processes counted; needs no context."""
        return self._parts.memory_of(gpu)

    def charge_external(self, gpu: int, nbytes: int) -> None:
        """Count memory that is allocated past this driver. Raises OutOfMemoryError if the budget has no room."""
        if not self._parts.accounts.charge(gpu, nbytes):
            raise OutOfMemoryError("charge_external", "CUDA_ERROR_OUT_OF_MEMORY")

    def refund_external(self, gpu: int, nbytes: int) -> None:
        """Stop counting what `charge_external` counted."""
        self._parts.accounts.refund(gpu, nbytes)

    def close(self) -> None:
        """Stop counting what this process holds. Nothing of this object may be used afterwards."""
        self._parts.accounts.close()

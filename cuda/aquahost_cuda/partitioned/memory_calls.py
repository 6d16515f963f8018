"""Calls about memory: charged to the logical GPU it is to lie on, made on the physical one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aquahost_cuda.partitioned.parts import Parts
from aquahost_cuda.vmm import round_up


class MemoryCalls:
    """Part of the partitioned driver."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def cuMemGetInfo(self) -> tuple[Any, Any, Any]:
        """(free, total) bytes of the current logical GPU's budget; less is free where the physical GPU has less."""
        gpu = self._parts.current_gpu
        status, free_bytes, _ = self._parts.underlying.cuMemGetInfo()
        if status != 0:
            return status, None, None
        if gpu is None:
            return self._parts.code("CUDA_ERROR_INVALID_CONTEXT"), None, None
        budget_free_bytes, budget_bytes = self._parts.memory_of(gpu)
        return status, min(budget_free_bytes, int(free_bytes)), budget_bytes

    def cuMemAlloc(self, bytesize: int) -> tuple[Any, Any]:
        """Plain memory, charged to the current logical GPU in whole pages."""
        gpu = self._parts.current_gpu
        if gpu is None:
            return self._parts.code("CUDA_ERROR_INVALID_CONTEXT"), None
        nbytes = round_up(bytesize, self._parts.page_bytes[self._parts.physical_index(gpu)])
        answer = self._charged(gpu, nbytes, lambda: self._parts.underlying.cuMemAlloc(bytesize))
        if answer[0] == 0:
            self._parts.holdings.allocated(int(answer[1]), gpu, nbytes)
        return answer

    def cuMemFree(self, dptr: Any) -> tuple[Any]:
        """Free what `cuMemAlloc` made."""
        return self._parts.holdings.free(int(dptr), lambda: self._parts.underlying.cuMemFree(dptr))

    def cuMemGetAllocationGranularity(self, prop: Any, option: Any) -> tuple[Any, Any]:
        """The physical GPU's, or the host's."""
        return self._parts.underlying.cuMemGetAllocationGranularity(self._properties(prop), option)

    def cuMemCreate(self, size: int, prop: Any, flags: int) -> tuple[Any, Any]:
        """Physical memory, charged to the logical GPU that it is to lie on; host memory is not counted."""
        properties = self._properties(prop)
        gpu = self._parts.gpu_at(prop.location)
        if gpu is None:
            return self._parts.underlying.cuMemCreate(size, properties, flags)
        answer = self._charged(gpu, size, lambda: self._parts.underlying.cuMemCreate(size, properties, flags))
        if answer[0] == 0:
            self._parts.holdings.created(int(answer[1]), gpu, size)
        return answer

    def cuMemRelease(self, handle: Any) -> tuple[Any]:
        """Give a handle up; the memory counts until its mappings are gone too."""
        return self._parts.holdings.release(int(handle), lambda: self._parts.underlying.cuMemRelease(handle))

    def cuMemMap(self, ptr: Any, size: int, offset: int, handle: Any, flags: int) -> tuple[Any]:
        """Map memory, which counts while it is mapped."""
        answer = self._parts.underlying.cuMemMap(ptr, size, offset, handle, flags)
        if answer[0] == 0:
            self._parts.holdings.mapped(int(ptr), int(handle))
        return answer

    def cuMemUnmap(self, ptr: Any, size: int) -> tuple[Any]:
        """Undo one `cuMemMap`."""
        return self._parts.holdings.unmap(int(ptr), lambda: self._parts.underlying.cuMemUnmap(ptr, size))

    def cuMemSetAccess(self, ptr: Any, size: int, desc: Sequence[Any] | None, count: int) -> tuple[Any]:
        """Set rights; those of a logical GPU are those of its whole physical one."""
        descriptors = []
        for one in desc or ():
            descriptor = self._parts.underlying.CUmemAccessDesc()
            descriptor.location = self._parts.location(one.location)
            descriptor.flags = one.flags
            descriptors.append(descriptor)
        return self._parts.underlying.cuMemSetAccess(ptr, size, descriptors, count)

    def cuMemGetAccess(self, location: Any, ptr: Any) -> tuple[Any, Any]:
        """The rights of a location's physical GPU."""
        return self._parts.underlying.cuMemGetAccess(self._parts.location(location), ptr)

    def _properties(self, prop: Any) -> Any:
        properties = self._parts.underlying.CUmemAllocationProp()
        properties.type = prop.type
        properties.requestedHandleTypes = prop.requestedHandleTypes
        properties.location = self._parts.location(prop.location)
        return properties

    def _charged(self, gpu: int, nbytes: int, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """What `make` answers, with its memory charged; not called where the budget has no room."""
        if not self._parts.accounts.charge(gpu, nbytes):
            return self._parts.code("CUDA_ERROR_OUT_OF_MEMORY"), None
        made = False
        try:
            answer = make()
            made = answer[0] == 0
        finally:
            if not made:
                self._parts.accounts.refund(gpu, nbytes)
        return answer

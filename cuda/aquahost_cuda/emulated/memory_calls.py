"""Calls that allocate, share and free memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from aquahost_cuda.emulated.device_calls import charged_bytes
from aquahost_cuda.emulated.node import HOST
from aquahost_cuda.emulated.refusal import Refused, answers_nothing, answers_value, require
from aquahost_cuda.emulated.regions import READ_WRITE, Allocation, Region
from aquahost_cuda.emulated.state import GRANULARITY_BYTES, State, number
from aquahost_cuda.emulated.types import (
    CUdeviceptr,
    CUmemAllocationGranularity_flags,
    CUmemAllocationHandleType,
    CUmemAllocationProp,
    CUmemAllocationType,
    CUmemGenericAllocationHandle,
    CUresult,
)

_FILE_DESCRIPTOR = CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
_MEMFD = re.compile(r"^/memfd:aquahost-([0-9a-f]{16})-(\d+)-([0-9a-f]{32}) ")


class MemoryCalls:
    """Part of the emulated driver."""

    def __init__(self, state: State) -> None:
        self._state = state

    @answers_value
    def cuMemAlloc(self, bytesize: int) -> CUdeviceptr:
        """Plain memory on the current context's GPU, for that GPU alone; charged in whole 2 MiB pages."""
        state, context = self._state, self._state.context()
        require(bytesize > 0)
        with state.mutex:
            with _charged(state, context.gpu, charged_bytes(bytesize)):
                address = state.memory.allocate(bytesize)
            rights = {context.gpu: READ_WRITE}
            state.regions.add(Region(address=address, nbytes=bytesize, place=context.gpu, rights=rights))
        return CUdeviceptr(address)

    @answers_nothing
    def cuMemFree(self, dptr: Any) -> None:
        """Free what `cuMemAlloc` made. NULL is ignored."""
        state = self._state
        state.context()
        if not number(dptr):
            return
        with state.mutex:
            region = state.region_at(number(dptr))
            if region is None or region.allocation is not None or region.place == HOST:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            with state.retiring(region):
                state.memory.unmap(region.address, region.nbytes)
            state.accounts.refund(region.place, charged_bytes(region.nbytes))

    @answers_value
    def cuMemHostAlloc(self, bytesize: int, Flags: int) -> int:
        """Pinned host memory, which every GPU may read and write."""
        state = self._state
        state.context()
        require(bytesize > 0 and 0 <= Flags < 8)
        with state.mutex:
            address = state.memory.allocate(bytesize)
            state.regions.add(Region(address=address, nbytes=bytesize, place=HOST, open_to_all=True))
        return address

    @answers_nothing
    def cuMemFreeHost(self, p: Any) -> None:
        """Free what `cuMemHostAlloc` made."""
        state = self._state
        state.context()
        with state.mutex:
            region = state.region_at(number(p))
            if region is None or not region.open_to_all:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            with state.retiring(region):
                state.memory.unmap(region.address, region.nbytes)

    @answers_value
    def cuMemGetAllocationGranularity(
        self, prop: CUmemAllocationProp | None, option: CUmemAllocationGranularity_flags
    ) -> int:
        """What sizes, offsets and addresses must be multiples of."""
        _place(self._state, prop)
        require(option in set(CUmemAllocationGranularity_flags))
        return GRANULARITY_BYTES

    @answers_value
    def cuMemCreate(self, size: int, prop: CUmemAllocationProp | None, flags: int) -> CUmemGenericAllocationHandle:
        """Physical memory, not mapped anywhere."""
        state, place = self._state, _place(self._state, prop)
        require(flags == 0 and size > 0 and size % GRANULARITY_BYTES == 0)
        assert prop is not None
        exportable = prop.requestedHandleTypes == _FILE_DESCRIPTOR
        # "HOST allocations are not IPC capable and requestedHandleTypes must be 0" (cuMemCreate)
        require(not (exportable and place == HOST))
        state.healthy(place)
        key = uuid4().bytes
        with state.mutex:
            with _charged(state, place, size):
                descriptor = os.memfd_create(f"aquahost-{state.tag}-{max(place, 0)}-{key.hex()}")
                os.ftruncate(descriptor, size)
            return self._handle(
                Allocation(place=place, nbytes=size, descriptor=descriptor, key=key, exportable=exportable)
            )

    @answers_nothing
    def cuMemRelease(self, handle: Any) -> None:
        """Give a handle up. The memory goes once its mappings are gone too."""
        state = self._state
        with state.mutex:
            allocation = state.allocation(handle)
            del state.handles[number(handle)]
            allocation.handles -= 1
            state.free_if_unused(allocation)

    @answers_value
    def cuMemExportToShareableHandle(self, handle: Any, handleType: CUmemAllocationHandleType, flags: int) -> int:
        """A file descriptor that another process can import; the caller closes it."""
        state = self._state
        require(handleType == _FILE_DESCRIPTOR and flags == 0)
        with state.mutex:
            allocation = state.allocation(handle)
            require(allocation.exportable)
            if not allocation.shared:
                state.accounts.share(allocation.key, allocation.place, allocation.nbytes)
                allocation.shared = True
                state.shared[allocation.key] = allocation
            return os.dup(allocation.descriptor)

    @answers_value
    def cuMemImportFromShareableHandle(
        self, osHandle: Any, shHandleType: CUmemAllocationHandleType
    ) -> CUmemGenericAllocationHandle:
        """A handle for memory that another process exported; `osHandle` stays the caller's to close.

        Kinder than hardware in one case: a descriptor under way while no process has a handle or mapping of its memory
        holds no bytes of the GPU here, and importing it succeeds even if they were given to someone else meanwhile;
        the GPU then holds more than it has until one of the two is freed.
        """
        state = self._state
        require(state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        require(shHandleType == _FILE_DESCRIPTOR)
        place, key = self._identify(number(osHandle))
        with state.mutex:
            allocation = state.shared.get(key)
            if allocation is None:
                nbytes = os.fstat(number(osHandle)).st_size
                allocation = Allocation(
                    place=place, nbytes=nbytes, descriptor=-1, key=key, exportable=True, shared=True
                )
                state.accounts.adopt(key, place, nbytes)
                state.shared[key] = allocation
            if allocation.descriptor < 0:
                allocation.descriptor = os.dup(number(osHandle))
            return self._handle(allocation)

    def _handle(self, allocation: Allocation) -> CUmemGenericAllocationHandle:
        handle = self._state.new_handle()
        self._state.handles[handle] = allocation
        allocation.handles += 1
        return CUmemGenericAllocationHandle(handle)

    def _identify(self, descriptor: int) -> tuple[int, bytes]:
        """(GPU number, key) of an exported descriptor of this node."""
        try:
            match = _MEMFD.match(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            match = None
        if match is None or match[1] != self._state.tag:
            raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
        return self._state.gpu(int(match[2])), bytes.fromhex(match[3])


def _place(state: State, prop: CUmemAllocationProp | None) -> int:
    """Where an allocation is to lie: a GPU number, or HOST."""
    require(state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
    if prop is None or prop.type != CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED:
        raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
    return state.place(prop.location)


@contextmanager
def _charged(state: State, place: int, nbytes: int) -> Iterator[None]:
    """Take bytes from a GPU, and give them back if what follows fails. Host memory is not counted."""
    if place == HOST:
        yield
        return
    require(state.accounts.charge(place, nbytes), CUresult.CUDA_ERROR_OUT_OF_MEMORY)
    try:
        yield
    except BaseException:
        state.accounts.refund(place, nbytes)
        raise

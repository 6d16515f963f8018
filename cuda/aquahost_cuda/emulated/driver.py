"""The emulated driver as one object: the functions and names of cuda.bindings.driver over host memory."""

from __future__ import annotations

import time
from collections.abc import Mapping

from aquahost_cuda.emulated import types
from aquahost_cuda.emulated.copy_calls import CopyCalls
from aquahost_cuda.emulated.device_calls import DeviceCalls
from aquahost_cuda.emulated.mapping_calls import MappingCalls
from aquahost_cuda.emulated.memory_calls import MemoryCalls
from aquahost_cuda.emulated.node import EmulatedNode
from aquahost_cuda.emulated.state import Live, State
from aquahost_cuda.emulated.stream_calls import StreamCalls
from aquahost_cuda.emulated.streams import sleep_until


class EmulatedDriver(DeviceCalls, MemoryCalls, MappingCalls, StreamCalls, CopyCalls):
    """One process's view of an emulated node.

    GPU memory is host memory, a stream is a thread, and a copy takes the time of the link it goes over. Result codes
    follow CUDA's documentation; where CUDA leaves a misuse undefined, this driver refuses it. What the process holds
    is given back by `close`, or by its death.
    """

    CUresult = types.CUresult
    CUdevice_attribute = types.CUdevice_attribute
    CUdevice_P2PAttribute = types.CUdevice_P2PAttribute
    CUmemLocationType = types.CUmemLocationType
    CUmemAllocationType = types.CUmemAllocationType
    CUmemAllocationHandleType = types.CUmemAllocationHandleType
    CUmemAllocationGranularity_flags = types.CUmemAllocationGranularity_flags
    CUmemAccess_flags = types.CUmemAccess_flags
    CUmemcpySrcAccessOrder = types.CUmemcpySrcAccessOrder
    CUmemcpyFlags = types.CUmemcpyFlags
    CUstream_flags = types.CUstream_flags
    CUevent_flags = types.CUevent_flags
    CUdevice = types.CUdevice
    CUdeviceptr = types.CUdeviceptr
    CUcontext = types.CUcontext
    CUstream = types.CUstream
    CUevent = types.CUevent
    CUmemGenericAllocationHandle = types.CUmemGenericAllocationHandle
    CUuuid = types.CUuuid
    CUmemLocation = types.CUmemLocation
    CUmemAllocationProp = types.CUmemAllocationProp
    CUmemAccessDesc = types.CUmemAccessDesc
    CUmemcpyAttributes = types.CUmemcpyAttributes

    def __init__(self, node: EmulatedNode, *, why_not_cuda: str | None = None) -> None:
        """Open a node. Raises OSError if its folder is unusable, ValueError if others have it open in another shape."""
        state = State(node)
        DeviceCalls.__init__(self, state)
        MemoryCalls.__init__(self, state)
        MappingCalls.__init__(self, state)
        StreamCalls.__init__(self, state)
        CopyCalls.__init__(self, state)
        self._state = state
        self.node = node
        self.why_not_cuda = why_not_cuda
        """Why this driver was taken where CUDA would have been, or None if it was asked for."""

    def memory_of(self, gpu: int) -> tuple[int, int]:
        """(free, total) bytes of a GPU, all processes counted; needs no context."""
        used_bytes = self._state.accounts.used_bytes()[gpu]
        return max(0, self.node.gpu_bytes - used_bytes), self.node.gpu_bytes

    def charge_reads(self, gpu: int, loads: Mapping[int, int]) -> None:
        """Sleep as long as reads of these bytes, by where they lie, keep their links to `gpu` busy."""
        crossed = {(source, gpu): nbytes for source, nbytes in loads.items()}
        sleep_until(self._state.links.occupy(crossed, time.monotonic()))

    def is_lost(self, gpu: int) -> bool:
        """Whether every use of a GPU is refused."""
        return gpu in self._state.faults.current().lost_gpus

    def live(self) -> Live:
        """What this process has not given back."""
        return self._state.live()

    def close(self) -> None:
        """Wait for all work under way and give everything back. Nothing of this driver may be used afterwards."""
        state = self._state
        with state.mutex:
            for context in state.contexts.values():
                for stream in context.streams.values():
                    state.dismiss(stream)
        state.await_dismissed()
        with state.mutex:
            for region in list(state.regions):
                if region.gone:  # another thread is freeing it
                    continue
                with state.retiring(region):
                    if region.allocation is None:
                        state.memory.unmap(region.address, region.nbytes)
                    else:
                        state.memory.vacate(region.address, region.nbytes)
                if region.allocation is not None:
                    region.allocation.mappings -= 1
                    state.free_if_unused(region.allocation)
            for handle in list(state.handles):
                self.cuMemRelease(handle)
            for reservation in state.reservations:
                state.memory.unmap(reservation.address, reservation.nbytes)
        state.links.close()
        state.accounts.close()

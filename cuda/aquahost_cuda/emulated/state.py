"""What one process knows of an emulated node: its contexts, its memory and its handles."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aquahost_cuda.accounting import Accounts
from aquahost_cuda.emulated.faults import FaultBoard
from aquahost_cuda.emulated.host_memory import HostMemory
from aquahost_cuda.emulated.links import LinkTable
from aquahost_cuda.emulated.node import HOST, EmulatedNode
from aquahost_cuda.emulated.refusal import Refused, require
from aquahost_cuda.emulated.regions import Allocation, RangeMap, Region, Reservation
from aquahost_cuda.emulated.streams import Context, DefaultStream, Event, Stream
from aquahost_cuda.emulated.types import CUmemLocation, CUmemLocationType, CUresult

GRANULARITY_BYTES = 2 << 20
"""Of physical memory, as on every GPU so far."""
_HOST_TYPES = (CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST, CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST_NUMA)
_LEGACY_STREAMS = (0, 1)  # NULL and CU_STREAM_LEGACY


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How many things of each kind a process has not given back."""

    contexts: int
    streams: int
    events: int
    reservations: int
    regions: int
    handles: int


class State:
    """Everything that the calls of one opened node share; `mutex` guards its tables."""

    def __init__(self, node: EmulatedNode) -> None:
        self.node = node
        self.faults = FaultBoard(node)
        self.accounts = Accounts(node.path, [node.gpu_bytes] * node.gpus)
        try:
            self.links = LinkTable(node, self.faults)
        except BaseException:
            self.accounts.close()
            raise
        self.memory = HostMemory()
        self.mutex = threading.RLock()
        self.region_released = threading.Condition(self.mutex)
        self.initialised = False
        self.contexts: dict[int, Context] = {}
        self.reservations: RangeMap[Reservation] = RangeMap()
        self.regions: RangeMap[Region] = RangeMap()
        self.handles: dict[int, Allocation] = {}
        self.shared: dict[bytes, Allocation] = {}
        """Allocations that other processes may hold too, by key."""
        self.tag = hashlib.sha256(os.path.realpath(node.path).encode()).hexdigest()[:16]
        """Tells nodes apart."""
        self._leaving: list[Stream] = []
        self._numbers = itertools.count(0x1000, 0x10)
        self._current = threading.local()

    def new_handle(self) -> int:
        """A number never given before."""
        return next(self._numbers)

    def gpu(self, device: Any) -> int:
        """A device's number, checked."""
        require(self.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        gpu = number(device)
        require(0 <= gpu < self.node.gpus, CUresult.CUDA_ERROR_INVALID_DEVICE)
        return gpu

    def place(self, location: CUmemLocation | None) -> int:
        """The GPU number, or HOST, that a location names."""
        if location is None:
            raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
        if location.type == CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE:
            return self.gpu(location.id)
        require(location.type in _HOST_TYPES)
        require(location.type == CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST or location.id >= 0)
        return HOST

    def allocation(self, handle: Any) -> Allocation:
        """Physical memory by handle."""
        allocation = self.handles.get(number(handle))
        if allocation is None:
            raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
        return allocation

    def healthy(self, place: int) -> None:
        """Refuse if the GPU is lost; the host never is."""
        lost = place != HOST and place in self.faults.current().lost_gpus
        require(not lost, CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE)

    def set_current(self, context: Context | None) -> None:
        """Make `context` the calling thread's."""
        self._current.context = context

    def bound_context(self) -> Context | None:
        """The calling thread's context, whatever its condition."""
        context: Context | None = getattr(self._current, "context", None)
        return context

    def context(self) -> Context:
        """The calling thread's context; refuses without one, or once it has failed."""
        require(self.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        context = self.bound_context()
        if context is None or not context.retained:
            raise Refused(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        if context.error is not None:
            raise Refused(context.error)
        self.healthy(context.gpu)
        return context

    def stream(self, handle: Any) -> Stream | DefaultStream:
        """A stream by handle; the legacy default stream is the current context's."""
        current = self.context()
        value = number(handle)
        if value in _LEGACY_STREAMS:
            return current.default_stream
        return self.owner_of_stream(value).streams[value]

    def owner_of_stream(self, handle: int) -> Context:
        """The context that has this stream."""
        for context in self.contexts.values():
            if handle in context.streams:
                return context
        raise Refused(CUresult.CUDA_ERROR_INVALID_HANDLE)

    def dismiss(self, stream: Stream) -> None:
        """Let a stream end once its work is done. The caller holds `mutex`."""
        stream.close()
        self._leaving = [one for one in self._leaving if not one.is_over()] + [stream]

    def await_dismissed(self) -> None:
        """Wait for the work of all dismissed streams."""
        for stream in list(self._leaving):
            stream.join()

    def event(self, handle: Any) -> Event:
        """An event by handle."""
        value = number(handle)
        for context in self.contexts.values():
            if value in context.events:
                return context.events[value]
        raise Refused(CUresult.CUDA_ERROR_INVALID_HANDLE)

    def peer_allowed(self, gpu: int, peer: int) -> bool:
        """Whether `gpu` may reach memory of `peer`."""
        faults = self.faults.current()
        broken = gpu in faults.lost_gpus or peer in faults.lost_gpus
        return gpu != peer and not broken and (gpu, peer) not in faults.no_peer_access

    def free_if_unused(self, allocation: Allocation) -> None:
        """Give physical memory back once neither a handle nor a mapping is left."""
        if not allocation.handles and allocation.descriptor >= 0:
            os.close(allocation.descriptor)
            allocation.descriptor = -1
        if allocation.handles or allocation.mappings:
            return
        if allocation.shared:
            del self.shared[allocation.key]
            self.accounts.drop(allocation.key)
        elif allocation.place != HOST:
            self.accounts.refund(allocation.place, allocation.nbytes)

    def region_at(self, address: int) -> Region | None:
        """The region that starts at exactly this address, unless another thread is taking it out of use."""
        region = self.regions.at(address)
        return None if region is None or region.gone else region

    @contextmanager
    def retiring(self, region: Region) -> Iterator[None]:
        """Take a region out of use: entered once no running copy touches it. The caller holds `mutex`.

        The wait lets other threads in, so the region's addresses stay taken until the block has given them back:
        whatever they mapped there meanwhile would be wiped by it.
        """
        region.gone = True
        self.region_released.wait_for(lambda: not region.users)
        yield
        self.regions.remove(region)

    def live(self) -> Live:
        """What has not been given back."""
        with self.mutex:
            contexts = [context for context in self.contexts.values() if context.retained]
            return Live(
                contexts=len(contexts),
                streams=sum(len(context.streams) for context in contexts),
                events=sum(len(context.events) for context in contexts),
                reservations=len(self.reservations),
                regions=len(self.regions),
                handles=len(self.handles),
            )


def number(value: Any) -> int:
    """The int in a handle, a pointer or an int; None is 0."""
    return 0 if value is None else int(value)

"""Calls that reserve addresses, map memory at them and grant access to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aquahost_cuda.emulated.host_memory import PROT_NONE, PROT_READ, PROT_WRITE
from aquahost_cuda.emulated.node import HOST
from aquahost_cuda.emulated.refusal import Refused, answers_nothing, answers_value, require
from aquahost_cuda.emulated.regions import READ, READ_WRITE, Region, Reservation
from aquahost_cuda.emulated.state import GRANULARITY_BYTES, State, number
from aquahost_cuda.emulated.types import CUdeviceptr, CUmemAccessDesc, CUmemLocation, CUresult


class MappingCalls:
    """Part of the emulated driver."""

    def __init__(self, state: State) -> None:
        self._state = state

    @answers_value
    def cuMemAddressReserve(self, size: int, alignment: int, addr: Any, flags: int) -> CUdeviceptr:
        """Addresses for later mappings. `addr` is a hint, which is not taken."""
        state = self._state
        require(state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        require(flags == 0 and size > 0 and _is_granular(size))
        require(alignment >= 0 and alignment & (alignment - 1) == 0)
        try:
            address = state.memory.reserve(size, max(alignment, GRANULARITY_BYTES))
        except OSError:
            raise Refused(CUresult.CUDA_ERROR_OUT_OF_MEMORY) from None
        with state.mutex:
            state.reservations.add(Reservation(address=address, nbytes=size))
        return CUdeviceptr(address)

    @answers_nothing
    def cuMemAddressFree(self, ptr: Any, size: int) -> None:
        """Give back exactly what was reserved, with nothing mapped in it."""
        state = self._state
        with state.mutex:
            reservation = state.reservations.at(number(ptr))
            if reservation is None or reservation.nbytes != size:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            require(not state.regions.within(number(ptr), size))
            state.reservations.remove(reservation)
            state.memory.unmap(reservation.address, size)

    @answers_nothing
    def cuMemMap(self, ptr: Any, size: int, offset: int, handle: Any, flags: int) -> None:
        """Put memory at unmapped, reserved addresses; nobody has access yet."""
        state, address = self._state, number(ptr)
        require(flags == 0 and size > 0 and _is_granular(size) and _is_granular(address))
        require(offset == 0)  # "Note: currently must be zero" (cuda.h on cuMemMap)
        with state.mutex:
            allocation = state.allocation(handle)
            require(size <= allocation.nbytes)
            reservation = state.reservations.holding(address)
            if reservation is None or address + size > reservation.address + reservation.nbytes:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            require(not state.regions.within(address, size))
            try:
                state.memory.map_file(address, size, allocation.descriptor, offset)
            except OSError:
                raise Refused(CUresult.CUDA_ERROR_MAP_FAILED) from None
            allocation.mappings += 1
            state.regions.add(Region(address=address, nbytes=size, place=allocation.place, allocation=allocation))

    @answers_nothing
    def cuMemUnmap(self, ptr: Any, size: int) -> None:
        """Undo one `cuMemMap`, whole; the addresses stay reserved."""
        state = self._state
        with state.mutex:
            region = state.region_at(number(ptr))
            if region is None or region.allocation is None or region.nbytes != size:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            with state.retiring(region):
                state.memory.vacate(region.address, size)
            region.allocation.mappings -= 1
            state.free_if_unused(region.allocation)

    @answers_nothing
    def cuMemSetAccess(self, ptr: Any, size: int, desc: Sequence[CUmemAccessDesc] | None, count: int) -> None:
        """Set the rights of some locations over whole mappings that lie side by side."""
        state, address = self._state, number(ptr)
        wanted = list(desc or ())[:count]
        require(0 < count == len(wanted))
        with state.mutex:
            regions = state.regions.within(address, size)
            require(_covered_exactly(regions, address, size))
            changes = [(state.place(one.location), int(one.flags)) for one in wanted]
            for region in regions:
                for accessor, flags in changes:
                    _demand_access(state, accessor, region.place, flags)
            for region in regions:
                region.rights.update(changes)
                rights = 0
                for flags in region.rights.values():
                    rights |= flags
                state.memory.protect(region.address, region.nbytes, _protection(rights))

    @answers_value
    def cuMemGetAccess(self, location: CUmemLocation | None, ptr: Any) -> int:
        """The rights of a location at an address."""
        accessor = self._state.place(location)
        with self._state.mutex:
            region = self._state.regions.holding(number(ptr))
            if region is None or region.allocation is None or region.gone:
                raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
            return region.rights.get(accessor, 0)


def _covered_exactly(regions: list[Region], address: int, nbytes: int) -> bool:
    """Whether these mappings, side by side, are just this range."""
    for region in regions:
        if region.address != address or region.allocation is None or region.gone:
            return False
        address += region.nbytes
        nbytes -= region.nbytes
    return bool(regions) and nbytes == 0


def _is_granular(value: int) -> bool:
    return value % GRANULARITY_BYTES == 0


def _protection(rights: int) -> int:
    if rights & READ_WRITE == READ_WRITE:
        return PROT_READ | PROT_WRITE
    return PROT_READ if rights else PROT_NONE


def _demand_access(state: State, accessor: int, place: int, flags: int) -> None:
    """Refuse unless `accessor` can be given these rights on memory that lies at `place`."""
    require(flags in (0, READ, READ_WRITE))
    if accessor == HOST:
        # "Users cannot specify HOST_NUMA accessibility for allocations created on with other location types"
        require(place == HOST)
    elif place not in (HOST, accessor) and flags:
        require(state.peer_allowed(accessor, place), CUresult.CUDA_ERROR_INVALID_DEVICE)

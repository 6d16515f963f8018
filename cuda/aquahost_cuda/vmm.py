"""Virtual memory management: addresses reserved apart from the physical memory that is mapped at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.protocol import Driver


class Kind(Enum):
    """What memory is made of."""

    DEVICE = "device"
    HOST = "host"


_NEAREST = -1


@dataclass(frozen=True, slots=True)
class Location:
    """Where physical memory lies."""

    kind: Kind
    index: int = 0
    """Number of the GPU, or of the host's NUMA node."""

    @classmethod
    def device(cls, index: int) -> Location:
        """HBM of a GPU, which needs no context in this process."""
        return cls(Kind.DEVICE, index)

    @classmethod
    def host(cls, node: int | None = None) -> Location:
        """Pinned host memory, of this NUMA node or of the one nearest to the GPU that uses it (an arena's, a
        buffer's); of node 0 where no GPU is known.
        """
        return cls(Kind.HOST, _NEAREST if node is None else node)

    def near(self, node: int) -> Location:
        """The same place, on this NUMA node if it is host memory whose node was left open."""
        return Location.host(node) if self == Location.host() else self


def host_node(driver: Driver, device_index: int) -> int:
    """NUMA node of host memory nearest to a GPU; 0 where there is but one, or where that can't be told."""
    attribute = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID
    try:
        node = int(call(driver.cuDeviceGetAttribute, attribute, call(driver.cuDeviceGet, device_index)))
    except DriverError:  # a driver older than the attribute, or no such GPU: the call that needs the GPU tells
        return 0
    # "NUMA ID of the host node closest to the device. Returns -1 when system does not support NUMA" (CUDA driver API,
    # CUdevice_attribute).
    return max(node, 0)


def granularity(driver: Driver, *locations: Location) -> int:
    """Bytes that sizes and addresses must be multiples of for all of these locations together."""
    option = driver.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM
    return max(
        int(call(driver.cuMemGetAllocationGranularity, _properties(driver, location), option)) for location in locations
    )


def round_up(nbytes: int, multiple: int) -> int:
    """The smallest multiple that is no less than `nbytes`."""
    return -(-nbytes // multiple) * multiple


def reserve(driver: Driver, nbytes: int, alignment: int = 0) -> int:
    """Address of `nbytes` of reserved addresses; release them with `unreserve`."""
    return int(call(driver.cuMemAddressReserve, nbytes, alignment, 0, 0))


def unreserve(driver: Driver, address: int, nbytes: int) -> None:
    """Give back a whole reservation; nothing may be mapped in it."""
    call(driver.cuMemAddressFree, address, nbytes)


def create_memory(driver: Driver, nbytes: int, location: Location) -> Any:
    """A handle of new physical memory, mapped nowhere; it lives until `release_memory`, and while it is mapped."""
    return call(driver.cuMemCreate, nbytes, _properties(driver, location), 0)


def map_handle(driver: Driver, address: int, nbytes: int, handle: Any) -> None:
    """Map physical memory, whole, at reserved addresses. Nobody has access yet: see `grant`."""
    call(driver.cuMemMap, address, nbytes, 0, handle, 0)


def release_memory(driver: Driver, handle: Any) -> None:
    """Give a handle up; from then on the memory lives just as long as its mappings."""
    call(driver.cuMemRelease, handle)


def map_memory(driver: Driver, address: int, nbytes: int, location: Location) -> None:
    """Create `nbytes` of physical memory and map it at reserved addresses. Nobody has access yet: see `grant`.

    On an error, nothing is left behind.
    """
    handle = create_memory(driver, nbytes, location)
    try:
        map_handle(driver, address, nbytes, handle)
    finally:
        # "The generic memory handle can be freed when there are still outstanding mappings" (cuMemRelease).
        release_memory(driver, handle)


def unmap_memory(driver: Driver, address: int, nbytes: int) -> None:
    """Undo one `map_memory`, whole. The GPU's work on it must be done; its physical memory is free on return."""
    call(driver.cuMemUnmap, address, nbytes)


def grant(driver: Driver, address: int, nbytes: int, accessors: Sequence[Location]) -> None:
    """Let these locations read and write a range that is mapped from end to end."""
    descriptors = []
    for accessor in accessors:
        descriptor = driver.CUmemAccessDesc()
        descriptor.location = _location(driver, accessor)
        descriptor.flags = driver.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        descriptors.append(descriptor)
    call(driver.cuMemSetAccess, address, nbytes, descriptors, len(descriptors))


class Buffer:
    """Memory at a fixed address for one GPU to read and write: its own, another GPU's or the host's."""

    def __init__(self, driver: Driver, device_index: int, nbytes: int, location: Location | None = None) -> None:
        """Allocate at least `nbytes` at `location` (the GPU itself, if None).

        Raises OutOfMemoryError, DriverError (CUDA_ERROR_INVALID_DEVICE where the GPU can't reach that one's memory), or
        ValueError if that is no size.
        """
        if nbytes <= 0:
            raise ValueError(f"a buffer of {nbytes} bytes can't be made")
        local = Location.device(device_index)
        location = (location or local).near(host_node(driver, device_index))
        self._driver = driver
        self.nbytes = round_up(nbytes, granularity(driver, local, location))
        """The size, rounded up to the larger granularity of the two places."""
        self.address = reserve(driver, self.nbytes)
        self._open = True
        try:
            map_memory(driver, self.address, self.nbytes, location)
        except BaseException:
            unreserve(driver, self.address, self.nbytes)
            raise
        try:
            grant(driver, self.address, self.nbytes, [local])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the memory, then the addresses. The GPU's work on it must be done. More than once is harmless."""
        if not self._open:
            return
        self._open = False
        # Addresses last: a reservation can't be freed while memory is mapped in it.
        try:
            unmap_memory(self._driver, self.address, self.nbytes)
        finally:
            unreserve(self._driver, self.address, self.nbytes)

    def __enter__(self) -> Buffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _location(driver: Driver, location: Location) -> Any:
    types = driver.CUmemLocationType
    struct = driver.CUmemLocation()
    if location.kind is Kind.DEVICE:
        struct.type = types.CU_MEM_LOCATION_TYPE_DEVICE
        struct.id = location.index
    else:
        # HOST_NUMA: known to every driver with VMM for host memory, while plain HOST came later.
        struct.type = types.CU_MEM_LOCATION_TYPE_HOST_NUMA
        struct.id = max(location.index, 0)
    return struct


def _properties(driver: Driver, location: Location) -> Any:
    properties = driver.CUmemAllocationProp()
    properties.type = driver.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    properties.location = _location(driver, location)
    return properties

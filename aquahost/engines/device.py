"""One GPU as engines use it: room for weights, an arena for state, tensors over raw memory."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping

import torch

from aquahost.clock import SystemClock
from aquahost.config.settings import LeasingSettings
from aquahost.engines.gpu_weights import GpuWeights
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.errors import LoadError
from aquahost.units import MIB, format_bytes
from aquahost_cuda.arena import Arena, common_granularity
from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.copies import CopyEngine
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver, charge_reads, count_external, driver_name, physical_index
from aquahost_cuda.vmm import Buffer, Location, round_up

_REAL_CHUNK_BYTES = 64 * MIB  # each mapping costs about 0.2 ms
_EMULATED_CHUNK_BYTES = 2 * MIB


class EngineDevice:
    """Owns this process's use of one GPU: its context and the memory given out here. Close engines first.

    On the emulated driver tensors are on torch's CPU device and lie in the emulated GPU's memory, so that it accounts
    for them as a GPU would.
    """

    def __init__(self, driver: Driver, gpu_index: int, desk: MemoryDesk | None = None) -> None:
        """`desk`: where claims on the GPU are made; without one nobody lends, and every claim holds at once."""
        self._driver = driver
        self._device = Device.open(driver, gpu_index)
        self.desk = desk or MemoryDesk(LeasingSettings(enabled=False), SystemClock())
        self.is_emulated = driver_name(driver) == "emulated"
        self.gpu_index = gpu_index
        physical = torch.device("cuda", physical_index(driver, gpu_index))
        self.torch_device = torch.device("cpu") if self.is_emulated else physical
        self._granule_bytes = common_granularity(driver, Location.device(gpu_index))
        self.weights = GpuWeights(self)
        """Of all modules placed here."""
        self._announced_bytes = 0
        self._copies: CopyEngine | None = None

    @property
    def copies(self) -> CopyEngine:
        """Streams of this GPU for copies beside its work; closed with the device."""
        if self._copies is None:
            self._copies = CopyEngine(self._driver, self._device)
        return self._copies

    @property
    def compute_stream(self) -> int | None:
        """Handle of the stream that torch computes on; None on the emulated driver, where torch computes at once."""
        return None if self.is_emulated else int(torch.cuda.current_stream(self.torch_device).cuda_stream)

    @property
    def total_bytes(self) -> int:
        """The GPU's memory."""
        return self._device.total_bytes

    def free_bytes(self) -> int:
        """Memory nobody holds, other processes counted."""
        return self._device.memory_info()[0]

    def require(self, needed_bytes: int, what: str) -> None:
        """Claim room for weights beside those placed already; `what` is named, like "the weights of chat".

        Call it before any weight is read: what is lent of the GPU has come back when it returns. Raises LoadError
        unless this much can be had, and is free now.
        """
        self._announced_bytes = self.weights.gpu_bytes + needed_bytes
        self.desk.require(Part.WEIGHTS, self._announced_bytes, what)
        self.refuse_beyond_free(needed_bytes, f"{what} need")

    def place(self, *modules: torch.nn.Module) -> int:
        """Move all parameters and buffers onto this GPU; tied tensors stay tied. Returns their bytes.

        Raises LoadError with the needed and the free bytes if they don't fit.
        """
        sizes = self.weights.sizes(modules)
        claim_bytes = max(self._announced_bytes, self.weights.gpu_bytes + sizes.taken_bytes)
        self.desk.require(Part.WEIGHTS, claim_bytes, "the weights")
        self.refuse_beyond_free(sizes.missing_bytes, "the weights need")
        try:
            self.weights.place(modules)
        except (OutOfMemoryError, torch.OutOfMemoryError) as error:
            raise self._out_of_memory(sizes.missing_bytes, "the weights need") from error
        return sizes.nbytes

    def end_load(self) -> None:
        """Claim no more for weights than they take: all are placed."""
        self._announced_bytes = 0
        self.desk.claim(Part.WEIGHTS, self.weights.gpu_bytes)

    def buffer(self, nbytes: int, location: Location | None = None) -> Buffer:
        """Memory for this GPU to use, of its own or at `location`; the caller closes it.

        Raises OutOfMemoryError where there is no room, DriverError where it can't be reached.
        """
        return Buffer(self._driver, self.gpu_index, nbytes, location)

    def taken_bytes(self, nbytes: int) -> int:
        """What memory of `nbytes` takes wherever it lies, in whole pages."""
        return round_up(nbytes, self._granule_bytes)

    def chunk_bytes(self, unit_bytes: int) -> int:
        """Size of an arena's chunks that hold whole units, such as KV blocks, and that any memory can be mapped in."""
        smallest = math.lcm(unit_bytes, self._granule_bytes)
        wanted = _EMULATED_CHUNK_BYTES if self.is_emulated else _REAL_CHUNK_BYTES
        return -(-wanted // smallest) * smallest

    def arena(self, chunks: int, chunk_bytes: int) -> Arena:
        """A new address range of this many chunks, none of which has memory yet; the caller closes it."""
        return Arena(self._driver, self.gpu_index, chunks * chunk_bytes, chunk_bytes)

    def claimable_bytes(self) -> int:
        """The most that could be claimed beyond what is: free memory, and what the broker would recall for it."""
        return self.desk.most_bytes() if self.desk.has_broker else self.free_bytes()

    def refuse_beyond_free(self, needed_bytes: int, what: str) -> None:
        """Raise LoadError unless this much is free now; `what` ends in its verb, like "the KV arena needs"."""
        if needed_bytes > self.free_bytes():
            raise self._out_of_memory(needed_bytes, what)

    def finish_work(self) -> None:
        """Wait for all that torch computes here: before memory is unmapped that a step may still read or write."""
        if not self.is_emulated:
            torch.cuda.current_stream(self.torch_device).synchronize()

    def count_torch(self, change_bytes: int) -> None:
        """Torch has taken so much more of the GPU, or less, past the driver: it counts where the GPU is a part of one.

        Raises OutOfMemoryError if that part has not so much.
        """
        count_external(self._driver, self.gpu_index, change_bytes)

    def charge_reads(self, loads: Mapping[int, int]) -> None:
        """Account for bytes that a step has read in place from other GPUs, or from the host (-1), by where they lie.

        A GPU's kernels have taken that time already. On the emulated driver they were read at the speed of this
        machine's memory, so it takes as long as those links would have.
        """
        charge_reads(self._driver, self.gpu_index, loads)

    def tensor(self, address: int, nbytes: int) -> torch.Tensor:
        """uint8 view [nbytes] of raw memory of this GPU; whoever owns the memory must outlive it."""
        if self.is_emulated:
            return torch.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), dtype=torch.uint8)
        return torch.as_tensor(_CudaMemory(address, nbytes), device=self.torch_device)

    def close(self) -> None:
        """Give back all memory placed here, and the GPU; more than once is harmless."""
        self.weights.close()
        if self._copies is not None:
            self._copies.close()
            self._copies = None
        self._device.close()

    def _out_of_memory(self, needed_bytes: int, what: str) -> LoadError:
        return LoadError(
            f"{what} {format_bytes(needed_bytes)}; GPU {self.gpu_index} has {format_bytes(self.free_bytes())} free "
            f"of {format_bytes(self.total_bytes)}"
        )


class _CudaMemory:
    """Raw GPU memory in the form that torch takes arrays of other libraries in."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__cuda_array_interface__ = {
            "data": (address, False),
            "shape": (nbytes,),
            "typestr": "|u1",
            "strides": None,
            "version": 3,
        }

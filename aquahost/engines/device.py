"""One GPU as engines use it: room for weights, an arena for state, tensors over raw memory."""

from __future__ import annotations

import ctypes

import torch

from aquahost.errors import LoadError
from aquahost.units import MIB, format_bytes
from aquahost_cuda.arena import Arena
from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.device import Device
from aquahost_cuda.driver import Driver, driver_name
from aquahost_cuda.vmm import Buffer

_ALIGNMENT_BYTES = 64
_REAL_CHUNK_BYTES = 64 * MIB  # each mapping costs about 0.2 ms
_EMULATED_CHUNK_BYTES = 2 * MIB


class EngineDevice:
    """Owns this process's use of one GPU: its context and the memory given out here. Close engines first.

    On the emulated driver tensors are on torch's CPU device and lie in the emulated GPU's memory, so that it accounts
    for them as a GPU would.
    """

    def __init__(self, driver: Driver, gpu_index: int) -> None:
        self._driver = driver
        self._device = Device.open(driver, gpu_index)
        self.is_emulated = driver_name(driver) == "emulated"
        self.gpu_index = gpu_index
        self.torch_device = torch.device("cpu") if self.is_emulated else torch.device("cuda", gpu_index)
        self._buffers: list[Buffer] = []

    @property
    def total_bytes(self) -> int:
        """The GPU's memory."""
        return self._device.total_bytes

    def free_bytes(self) -> int:
        """Memory nobody holds, other processes counted."""
        return self._device.memory_info()[0]

    def require(self, needed_bytes: int, what: str) -> None:
        """Raise LoadError unless this much is free now; `what` is named, like "the weights of chat"."""
        free_bytes = self.free_bytes()
        if needed_bytes > free_bytes:
            raise LoadError(
                f"{what} need {format_bytes(needed_bytes)}; GPU {self.gpu_index} has {format_bytes(free_bytes)} free "
                f"of {format_bytes(self.total_bytes)}"
            )

    def place(self, *modules: torch.nn.Module) -> int:
        """Move all parameters and buffers onto this GPU; tied tensors stay tied. Returns their bytes.

        Raises LoadError with the needed and the free bytes if they don't fit.
        """
        tensors = _tensors(modules)
        sizes_bytes = {identity: _aligned(tensor.nbytes) for identity, tensor in tensors}
        placed_bytes = sum(sizes_bytes.values())
        if self.is_emulated:
            self.require(placed_bytes, "the weights")
            self._place_in_buffer(tensors, placed_bytes)
        else:
            self._move(modules, sum(sizes_bytes[i] for i in {i for i, t in tensors if t.device != self.torch_device}))
        return placed_bytes

    def arena(self, capacity_bytes: int) -> Arena:
        """A new arena of at least `capacity_bytes`, all of it mapped; the caller closes it. Raises LoadError."""
        chunk_bytes = _EMULATED_CHUNK_BYTES if self.is_emulated else _REAL_CHUNK_BYTES
        chunks = -(-capacity_bytes // chunk_bytes)
        arena = Arena(self._driver, self.gpu_index, chunks * chunk_bytes, chunk_bytes)
        try:
            arena.grow(chunks)
        except BaseException as error:
            arena.close()
            if isinstance(error, OutOfMemoryError):
                raise self._out_of_memory(chunks * chunk_bytes, "the KV arena needs") from error
            raise
        return arena

    def tensor(self, address: int, nbytes: int) -> torch.Tensor:
        """uint8 view [nbytes] of raw memory of this GPU; whoever owns the memory must outlive it."""
        if self.is_emulated:
            return torch.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), dtype=torch.uint8)
        return torch.as_tensor(_CudaMemory(address, nbytes), device=self.torch_device)

    def close(self) -> None:
        """Give back all memory placed here, and the GPU; more than once is harmless."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        self._device.close()

    def _move(self, modules: tuple[torch.nn.Module, ...], missing_bytes: int) -> None:
        """`missing_bytes`: of tensors not yet on the GPU; libraries may have loaded some straight to it."""
        self.require(missing_bytes, "the weights")
        try:
            for module in modules:
                module.to(self.torch_device)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory(missing_bytes, "the weights need") from error

    def _place_in_buffer(self, tensors: list[tuple[tuple[object, ...], torch.Tensor]], needed_bytes: int) -> None:
        if not needed_bytes:
            return
        try:
            buffer = Buffer(self._driver, self.gpu_index, needed_bytes)
        except OutOfMemoryError as error:
            raise self._out_of_memory(needed_bytes, "the weights need") from error
        self._buffers.append(buffer)
        memory = self.tensor(buffer.address, needed_bytes)
        placed: dict[tuple[object, ...], torch.Tensor] = {}
        at = 0
        for identity, tensor in tensors:
            if identity not in placed:
                placed[identity] = _shaped(memory[at : at + tensor.nbytes].view(tensor.dtype), tensor).copy_(tensor)
                at += _aligned(tensor.nbytes)
        for identity, tensor in tensors:
            tensor.data = placed[identity]

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


def _tensors(modules: tuple[torch.nn.Module, ...]) -> list[tuple[tuple[object, ...], torch.Tensor]]:
    """Every parameter and buffer, each with what is equal for tied ones: the memory it is, and how it is seen."""
    return [
        ((tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()), tensor)
        for module in modules
        for tensor in [*module.parameters(), *module.buffers()]
        if tensor.numel()
    ]


def _shaped(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`flat` in the shape of `like`; a matrix that lies column by column goes on doing so."""
    if like.ndim == 2 and like.T.is_contiguous():
        return flat.view(like.T.shape).T
    return flat.view(like.shape)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

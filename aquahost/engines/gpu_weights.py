"""The weights on one GPU: placed there, moved out while their model is parked, and moved back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from aquahost_cuda.copies import Copy, CopyEngine, Direction, Transfer
from aquahost_cuda.vmm import Buffer

_ALIGNMENT_BYTES = 64


class Gpu(Protocol):
    """What placing and moving weights takes of an EngineDevice."""

    is_emulated: bool
    torch_device: torch.device

    @property
    def copies(self) -> CopyEngine: ...
    @property
    def compute_stream(self) -> int | None: ...
    def buffer(self, nbytes: int) -> Buffer: ...
    def taken_bytes(self, nbytes: int) -> int: ...
    def tensor(self, address: int, nbytes: int) -> torch.Tensor: ...
    def count_torch(self, change_bytes: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSizes:
    """What some modules' weights take."""

    nbytes: int
    """Of all parameters and buffers, tied ones once."""
    missing_bytes: int
    """Of those that are not on the GPU yet; libraries may have loaded some straight to it."""
    taken_bytes: int
    """Of the GPU's memory, once all are there."""


class GpuWeights:
    """Owns the memory that the weights of all modules placed on one GPU take there.

    To move out: `copy_out`, and once its transfer is done, `leave`; from then on the tensors are empty, and computing
    with them fails. To move back: `copy_in`, and once that is done, `arrive`: bit for bit as they were, tied tensors
    tied, matrices that lie column by column lying so.
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._tensors: dict[int, torch.Tensor] = {}
        self._buffers: list[Buffer] = []
        self._torch_bytes = 0
        self._packing: _Packing | None = None

    @property
    def gpu_bytes(self) -> int:
        """Memory of the GPU that they take at this moment; 0 while they are away."""
        return self._torch_bytes + sum(buffer.nbytes for buffer in self._buffers)

    def sizes(self, modules: Sequence[torch.nn.Module]) -> WeightSizes:
        """What `place` would take for these."""
        tensors = _tensors(modules)
        nbytes = _unique_bytes(tensors)
        missing = nbytes
        if not self._gpu.is_emulated:
            missing = _unique_bytes([tensor for tensor in tensors if tensor.device != self._gpu.torch_device])
        taken = self._gpu.taken_bytes(nbytes) if self._gpu.is_emulated and nbytes else nbytes
        return WeightSizes(nbytes=nbytes, missing_bytes=missing, taken_bytes=taken)

    def place(self, modules: Sequence[torch.nn.Module]) -> None:
        """Move all parameters and buffers onto the GPU; tied tensors stay tied.

        Raises OutOfMemoryError, torch's or the device layer's.
        """
        tensors = _tensors(modules)
        if self._gpu.is_emulated:
            self._place_in_buffer(tensors)
        else:
            for module in modules:
                module.to(self._gpu.torch_device)
            tensors = _tensors(modules)
            self._count_torch(self._torch_bytes + _unique_bytes(tensors))
        self._tensors.update((id(tensor), tensor) for tensor in tensors)

    def packed_bytes(self) -> int:
        """What a copy of them takes, one behind the other."""
        return (self._packing or _pack(list(self._tensors.values()))).nbytes

    def copy_out(self, target: Buffer) -> Transfer:
        """Start copying all of them to `target`, which holds at least `packed_bytes`. They stay in use meanwhile."""
        packing = self._packing = _pack(list(self._tensors.values()))
        copies = [Copy(target.address + run.offset, run.address, run.nbytes) for run in packing.runs]
        return self._gpu.copies.copy(Direction.OUT, copies, after=self._gpu.compute_stream)

    def stay(self) -> None:
        """Forget a copy that was made and is not wanted any more."""
        self._packing = None

    def leave(self) -> None:
        """Free their memory on the GPU; the copy is all that is left."""
        assert self._packing is not None, "copy_out first"
        for view in self._packing.views:
            view.tensor.data = torch.empty(0, dtype=view.tensor.dtype, device=self._gpu.torch_device)
        if not self._gpu.is_emulated:
            torch.cuda.synchronize(self._gpu.torch_device)  # no step may still read what is unmapped now
            torch.cuda.empty_cache()
        self._count_torch(0)
        self.close()

    def copy_in(self, source: Buffer) -> Transfer:
        """Take memory of the GPU and start copying them back there from `source`. Raises OutOfMemoryError."""
        assert self._packing is not None, "they are here"
        home = self._gpu.buffer(self._packing.nbytes)
        try:
            transfer = self._gpu.copies.copy(
                Direction.IN, [Copy(home.address, source.address, self._packing.nbytes)], after=self._gpu.compute_stream
            )
        except BaseException:
            home.close()
            raise
        self._buffers.append(home)
        return transfer

    def arrive(self) -> None:
        """Let the tensors be what `copy_in` has copied."""
        assert self._packing is not None, "copy_in first"
        (home,) = self._buffers
        memory = self._gpu.tensor(home.address, self._packing.nbytes)
        for view in self._packing.views:
            flat = memory[view.offset : view.offset + view.nbytes].view(view.tensor.dtype)
            view.tensor.data = flat.as_strided(view.shape, view.stride)
        self._packing = None

    def close(self) -> None:
        """Give the memory back; the tensors must not be used any more. More than once is harmless."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()

    def _count_torch(self, nbytes: int) -> None:
        self._gpu.count_torch(nbytes - self._torch_bytes)
        self._torch_bytes = nbytes

    def _place_in_buffer(self, tensors: list[torch.Tensor]) -> None:
        needed_bytes = _unique_bytes(tensors)
        if not needed_bytes:
            return
        buffer = self._gpu.buffer(needed_bytes)
        self._buffers.append(buffer)
        memory = self._gpu.tensor(buffer.address, needed_bytes)
        placed: dict[tuple[object, ...], torch.Tensor] = {}
        at = 0
        for tensor in tensors:
            if _identity(tensor) not in placed:
                target = _shaped(memory[at : at + tensor.nbytes].view(tensor.dtype), tensor)
                placed[_identity(tensor)] = target.copy_(tensor)
                at += _aligned(tensor.nbytes)
        for tensor, target in [(tensor, placed[_identity(tensor)]) for tensor in tensors]:
            tensor.data = target


@dataclass(frozen=True, slots=True)
class _Run:
    """Memory without a gap that tensors lie in."""

    address: int
    nbytes: int
    offset: int
    """Where it lies in the packed copy."""


@dataclass(frozen=True, slots=True)
class _View:
    """How one tensor sees the packed copy."""

    tensor: torch.Tensor
    offset: int
    nbytes: int
    """From its first value to the end of its last."""
    shape: torch.Size
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Packing:
    """Tensors' memory, one run behind the other."""

    runs: list[_Run]
    views: list[_View]
    nbytes: int


def _pack(tensors: Sequence[torch.Tensor]) -> _Packing:
    """By address, so that whatever shares memory goes on sharing it."""
    runs: list[_Run] = []
    views: list[_View] = []
    end = 0
    for tensor in sorted(tensors, key=torch.Tensor.data_ptr):
        address, nbytes = tensor.data_ptr(), _extent_bytes(tensor)
        last = runs[-1] if runs else None
        # Across the few bytes that alignment leaves between two tensors, too: one long copy is faster than many.
        if last is not None and address < last.address + last.nbytes + _ALIGNMENT_BYTES:
            length = max(last.nbytes, address + nbytes - last.address)
            runs[-1] = last = _Run(last.address, length, last.offset)
        else:
            last = _Run(address, nbytes, _aligned(end) + address % _ALIGNMENT_BYTES)
            runs.append(last)
        end = last.offset + last.nbytes
        offset = last.offset + address - last.address
        views.append(_View(tensor, offset, nbytes, tensor.shape, tensor.stride()))
    return _Packing(runs, views, end)


def _extent_bytes(tensor: torch.Tensor) -> int:
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def _tensors(modules: Sequence[torch.nn.Module]) -> list[torch.Tensor]:
    """Every parameter and buffer that has values."""
    return [t for module in modules for t in [*module.parameters(), *module.buffers()] if t.numel()]


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tied tensors: the memory it is, and how it is seen."""
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _unique_bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum({_identity(tensor): _aligned(tensor.nbytes) for tensor in tensors}.values())


def _shaped(flat: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`flat` in the shape of `like`; a matrix that lies column by column goes on doing so."""
    if like.ndim == 2 and like.T.is_contiguous():
        return flat.view(like.T.shape).T
    return flat.view(like.shape)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

"""Calls that move bytes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from aquahost_cuda.emulated.mover import Mover, Piece
from aquahost_cuda.emulated.refusal import answers_nothing, require
from aquahost_cuda.emulated.state import State, number
from aquahost_cuda.emulated.streams import DefaultStream, Stream
from aquahost_cuda.emulated.types import CUdeviceptr, CUmemcpyAttributes, CUmemcpySrcAccessOrder

_ORDER = CUmemcpySrcAccessOrder
_VALID_ORDERS = (
    _ORDER.CU_MEMCPY_SRC_ACCESS_ORDER_STREAM,
    _ORDER.CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL,
    _ORDER.CU_MEMCPY_SRC_ACCESS_ORDER_ANY,
)


class CopyCalls:
    """Part of the emulated driver."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._mover = Mover(state)

    @answers_nothing
    def cuMemcpyAsync(self, dst: Any, src: Any, ByteCount: int, hStream: Any) -> None:
        """Copy in stream order. From or to pageable host memory it returns once the bytes have moved."""
        stream = self._state.stream(hStream)
        pieces = self._mover.split(number(dst), number(src), ByteCount, stream.context.gpu)
        self._submit(stream, pieces)

    @answers_nothing
    def cuMemcpyBatchAsync(
        self,
        dsts: Sequence[CUdeviceptr] | None,
        srcs: Sequence[CUdeviceptr] | None,
        sizes: Sequence[int],
        count: int,
        attrs: Sequence[CUmemcpyAttributes] | None,
        attrsIdxs: Sequence[int],
        numAttrs: int,
        hStream: Any,
    ) -> None:
        """Copy all pairs, in stream order as a whole, in no order among themselves.

        Copies of one batch that overlap are undefined in CUDA and refused here.
        """
        targets, sources, attributes = list(dsts or ()), list(srcs or ()), list(attrs or ())
        _demand_pointers("dsts", targets)
        _demand_pointers("srcs", sources)
        stream = self._state.stream(hStream)
        require(isinstance(stream, Stream))  # "Must not be legacy NULL stream"
        require(0 < count == len(targets) == len(sources) == len(sizes))
        require(0 < numAttrs == len(attributes) == len(attrsIdxs) <= count)
        require(attrsIdxs[0] == 0 and attrsIdxs[-1] < count and all(a < b for a, b in pairwise(attrsIdxs)))
        require(all(attribute.srcAccessOrder in _VALID_ORDERS for attribute in attributes))
        require(all(size > 0 for size in sizes))
        ranges = list(zip(map(int, targets), map(int, sources), sizes, strict=True))
        require(not _overlap(ranges))
        pieces = [piece for dst, src, size in ranges for piece in self._mover.split(dst, src, size, stream.context.gpu)]
        at_once = any(one.srcAccessOrder == _ORDER.CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL for one in attributes)
        self._submit(stream, pieces, at_once=at_once)

    @answers_nothing
    def cuMemsetD8Async(self, dstDevice: Any, uc: int, N: int, hStream: Any) -> None:
        """Set `N` bytes of device memory to `uc`, in stream order."""
        stream = self._state.stream(hStream)
        require(0 <= uc <= 255)
        pieces = self._mover.split(number(dstDevice), number(dstDevice), N, stream.context.gpu)
        require(all(piece.target is not None for piece in pieces))
        gpu = stream.context.gpu
        stream.submit(lambda: self._mover.touch(pieces, gpu, lambda piece: _fill(piece, uc)))

    def _submit(self, stream: Stream | DefaultStream, pieces: list[Piece], *, at_once: bool = False) -> None:
        if not pieces:
            return
        gpu = stream.context.gpu
        stream.submit(lambda: self._mover.move(pieces, gpu))
        pageable = any(piece.target is None or piece.source is None for piece in pieces)
        if pageable or at_once:
            stream.mark().wait()


def _demand_pointers(name: str, values: list[Any]) -> None:
    # As NVIDIA's package does: bare ints are no pointers in a batch.
    if not all(isinstance(value, CUdeviceptr) for value in values):
        raise TypeError(f"Argument {name!r} is not instance of type (expected tuple or list of CUdeviceptr)")


def _fill(piece: Piece, value: int) -> None:
    ctypes.memset(piece.dst, value, piece.nbytes)


def _overlap(ranges: list[tuple[int, int, int]]) -> bool:
    """Whether a target overlaps another target or any source."""
    spans = [(dst, dst + size, True) for dst, _, size in ranges] + [(src, src + size, False) for _, src, size in ranges]
    spans.sort()
    target_end = source_end = 0
    for start, end, is_target in spans:
        if start < target_end or (is_target and start < source_end):
            return True
        if is_target:
            target_end = max(target_end, end)
        else:
            source_end = max(source_end, end)
    return False

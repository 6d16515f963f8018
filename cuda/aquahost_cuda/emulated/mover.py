"""Moving bytes between regions, in the time that the node's links take."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

from aquahost_cuda.emulated.link_times import Link
from aquahost_cuda.emulated.node import HOST
from aquahost_cuda.emulated.refusal import require
from aquahost_cuda.emulated.regions import READ, READ_WRITE, Region
from aquahost_cuda.emulated.state import State
from aquahost_cuda.emulated.streams import sleep_until
from aquahost_cuda.emulated.types import CUresult

_FIRST_GUESS_BYTES_PER_S = 4e9
_SMOOTHING = 0.2


@dataclass(slots=True, kw_only=True, eq=False)
class Piece:
    """Bytes that move within one region on either side."""

    dst: int
    src: int
    nbytes: int
    target: Region | None
    """None is pageable host memory, of which the driver knows nothing."""
    source: Region | None

    @property
    def link(self) -> Link:
        """The directed link it goes over."""
        return _place(self.source), _place(self.target)


class Mover:
    """Splits copies into pieces that their GPU may do, and does them on a stream's thread."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._bytes_per_s = _FIRST_GUESS_BYTES_PER_S
        """How fast this machine moved bytes lately."""

    def split(self, dst: int, src: int, nbytes: int, gpu: int) -> list[Piece]:
        """Pieces of one copy by `gpu`. Refuses memory that is not there, or that this GPU has no right to."""
        require(nbytes >= 0)
        pieces: list[Piece] = []
        with self._state.mutex:
            done = 0
            while done < nbytes:
                target, target_bytes = self._region(dst + done, nbytes - done, gpu, READ_WRITE)
                source, source_bytes = self._region(src + done, nbytes - done, gpu, READ)
                step = min(target_bytes, source_bytes)
                pieces.append(Piece(dst=dst + done, src=src + done, nbytes=step, target=target, source=source))
                done += step
        return pieces

    def move(self, pieces: list[Piece], gpu: int) -> None:
        """Copy the pieces; returns when the last of them has arrived over its link.

        The bytes move at the end of that time, not at its beginning, so that whoever reads the target too early, or
        overwrites the source too early, gets what hardware might give him.
        """
        loads: dict[Link, int] = {}
        for piece in pieces:
            loads[piece.link] = loads.get(piece.link, 0) + piece.nbytes
        total_bytes = sum(loads.values())
        arrival_s = self._state.links.occupy(loads, time.monotonic())
        sleep_until(arrival_s - total_bytes / self._bytes_per_s)
        start_s = time.monotonic()
        corrupted = self._state.faults.current().corrupt_peer_access
        self.touch(pieces, gpu, lambda piece: _copy(piece, corrupt=(gpu, _far_end(piece.link, gpu)) in corrupted))
        if total_bytes >= 1 << 20:
            rate = total_bytes / max(time.monotonic() - start_s, 1e-9)
            self._bytes_per_s += _SMOOTHING * (rate - self._bytes_per_s)
        sleep_until(arrival_s)

    def touch(self, pieces: list[Piece], gpu: int, work: Callable[[Piece], None]) -> None:
        """Do `work` on each piece while its regions are kept from vanishing."""
        for piece in pieces:
            held = [(region, flags) for region, flags in ((piece.target, READ_WRITE), (piece.source, READ)) if region]
            with self._state.mutex:
                for region, flags in held:
                    self._state.healthy(region.place)
                    # Unmapped, or access withdrawn, while the copy was queued: the GPU would fault.
                    usable = not region.gone and region.permits(gpu, flags)
                    require(usable, CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
                for region, _ in held:
                    region.users += 1
            try:
                work(piece)
            finally:
                with self._state.mutex:
                    for region, _ in held:
                        region.users -= 1
                    self._state.region_released.notify_all()

    def _region(self, address: int, nbytes: int, gpu: int, flags: int) -> tuple[Region | None, int]:
        """The region at `address` and how many of `nbytes` lie in it."""
        region = self._state.regions.holding(address)
        if region is None:
            require(address > 0 and self._state.reservations.holding(address) is None)
            return None, nbytes
        require(not region.gone and region.permits(gpu, flags))
        self._state.healthy(region.place)
        return region, min(nbytes, region.address + region.nbytes - address)


def _place(region: Region | None) -> int:
    return HOST if region is None else region.place


def _far_end(link: Link, gpu: int) -> int:
    return link[0] if link[1] == gpu else link[1]


def _copy(piece: Piece, *, corrupt: bool) -> None:
    ctypes.memmove(piece.dst, piece.src, piece.nbytes)
    if corrupt:
        ctypes.c_uint8.from_address(piece.dst + piece.nbytes // 2).value ^= 0xFF

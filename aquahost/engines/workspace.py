"""GPU memory for activations, held only while prompts run."""

from __future__ import annotations

import torch

from aquahost.engines.device import EngineDevice
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.units import format_bytes
from aquahost_cuda.check import OutOfMemoryError
from aquahost_cuda.vmm import Buffer

CLAIM_WAIT_S = 0.05
"""How long a loop may sleep while a claim is being settled, if no message wakes it."""


class NoRoomError(Exception):
    """The GPU cannot give what prompts need now; the text says how much that is, and how much there is."""


class Workspace:
    """One engine's memory for activations: claimed before prompts run, kept for `linger_s` after the last.

    On the emulated driver it is really taken from the GPU, since torch's own activations lie elsewhere; on a GPU it is
    torch that takes it, and gives it back here.
    """

    def __init__(self, device: EngineDevice) -> None:
        self._device = device
        self._desk = device.desk
        self._buffers: list[Buffer] = []
        self._asked_bytes = 0
        self._idle_since_s: float | None = None
        self.nbytes = 0
        """What may be used now."""

    def want(self, nbytes: int) -> bool:
        """Have at least this much; returns whether it is there, and is to be asked again if not.

        Raises NoRoomError if it cannot be had now; what there was is still there.
        """
        self._idle_since_s = None
        nbytes = max(self._device.taken_bytes(nbytes), self.nbytes)
        is_new = nbytes != self._asked_bytes
        self._asked_bytes = nbytes
        if is_new and not self._desk.claim(Part.WORK, nbytes):
            return False
        if self._desk.wanted(Part.WORK) != nbytes:
            self._asked_bytes = self.nbytes
            raise NoRoomError(room_text(self._desk, nbytes))
        if self._desk.settled(Part.WORK) != nbytes:
            return False
        self._take(nbytes)
        return True

    def rest(self) -> None:
        """No prompts are live: give all back once that has been so for `linger_s`."""
        now_s = self._desk.clock.now_s()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        if self._asked_bytes and now_s - self._idle_since_s >= self._desk.settings.linger_s:
            self.close()

    def wait_s(self) -> float:
        """How long nothing changes here unless a message comes."""
        if self._asked_bytes != self.nbytes:
            return CLAIM_WAIT_S
        if self._idle_since_s is None or not self.nbytes:
            return float("inf")
        return max(0.0, self._idle_since_s + self._desk.settings.linger_s - self._desk.clock.now_s())

    def close(self) -> None:
        """Give all back; more than once is harmless."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        if not self._device.is_emulated:
            torch.cuda.empty_cache()
            self._device.count_torch(-self.nbytes)
        self.nbytes = self._asked_bytes = 0
        self._desk.claim(Part.WORK, 0)

    def _take(self, nbytes: int) -> None:
        more_bytes = nbytes - self.nbytes
        if more_bytes:
            try:
                if self._device.is_emulated:
                    self._buffers.append(self._device.buffer(more_bytes))
                else:
                    self._device.count_torch(more_bytes)
            except OutOfMemoryError as error:
                self._asked_bytes = self.nbytes
                self._desk.claim(Part.WORK, self.nbytes)
                free_bytes = self._device.free_bytes()
                raise NoRoomError(
                    f"{format_bytes(nbytes)} of memory are needed beside the weights; GPU {self._device.gpu_index} "
                    f"has {format_bytes(self.nbytes + free_bytes)}, since other processes hold more of it than usual"
                ) from error
        self.nbytes = nbytes


def room_text(desk: MemoryDesk, nbytes: int) -> str:
    """Why a part's claim of `nbytes` was refused."""
    refused = desk.refused
    most_bytes = max(0, refused.available_bytes - (refused.nbytes - nbytes)) if refused is not None else 0
    return f"{format_bytes(nbytes)} are needed of the model's own GPU, of which {format_bytes(most_bytes)} can be had"

"""Memory for activations, claimed while prompts run: what engines.workspace is to real engines."""

from __future__ import annotations

from aquahost.engines.memory_desk import MemoryDesk, Part


class SimWorkspace:
    """Owns one worker's claim for activations."""

    def __init__(self, desk: MemoryDesk) -> None:
        self._desk = desk
        self._idle_since_s: float | None = None
        self.nbytes = 0
        """What may be used now."""

    def want(self, nbytes: int) -> bool:
        """Have at least this much; False while it is not there."""
        self._idle_since_s = None
        nbytes = max(nbytes, self.nbytes)
        if self._desk.claim(Part.WORK, nbytes):
            self.nbytes = nbytes
        return self.nbytes >= nbytes

    def rest(self) -> None:
        """No prompts are live: give all back once that has been so for `linger_s`."""
        now_s = self._desk.clock.now_s()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        if self._desk.wanted(Part.WORK) and now_s - self._idle_since_s >= self._desk.settings.linger_s:
            self._desk.claim(Part.WORK, 0)
            self.nbytes = 0

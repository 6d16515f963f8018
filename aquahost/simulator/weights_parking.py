"""An idle model's weights on their way to host memory and back: what engines.parking is to real ones.

Neighbours' memory is not tried first, as the engine does: a node whose models lie idle for so long has room either way.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.engines.parking_rule import ParkingRule
from aquahost.simulator.links import HOST, Links
from aquahost.simulator.links import Part as Piece

_Stage = Enum("_Stage", "AWAKE LEAVING PARKED CLAIMING RETURNING")


class WeightsParking:
    """Owns where one GPU's part of a model's weights is."""

    def __init__(
        self,
        desk: MemoryDesk,
        links: Links,
        gpu: int,
        weights_bytes: int,
        *,
        pin: bool,
        ready_to_park: Callable[[], bool],
        woken: Callable[[], None],
    ) -> None:
        """`woken` is called when something has changed."""
        self._desk = desk
        self._links = links
        self._gpu = gpu
        self._weights_bytes = weights_bytes
        self._rule = ParkingRule(desk, pin=pin, ready_to_park=ready_to_park)
        self._woken = woken
        self._stage = _Stage.AWAKE
        self._is_wanted = False
        self._since_s = desk.clock.now_s()
        desk.claim(Part.WEIGHTS, weights_bytes)

    @property
    def is_awake(self) -> bool:
        """Whether the weights may be used now."""
        return self._stage in (_Stage.AWAKE, _Stage.LEAVING)

    @property
    def where(self) -> str:
        """Where they lie while the model is parked; "" while they are at home."""
        return "" if self.is_awake else "host"

    @property
    def gpu_bytes(self) -> int:
        """What they take of the GPU."""
        return 0 if self._stage in (_Stage.PARKED, _Stage.CLAIMING) else self._weights_bytes

    @property
    def due_in_s(self) -> float:
        """How long until an idle model is to be parked; infinite where it is not."""
        if self._stage is not _Stage.AWAKE:
            return float("inf")
        return max(0.0, self._rule.after_s() - (self._desk.clock.now_s() - self._since_s))

    def tend(self, *, busy: bool) -> None:
        """Go on with what is under way."""
        now_s = self._desk.clock.now_s()
        if busy and self._stage is _Stage.AWAKE:
            self._since_s = now_s
        elif busy:
            self._is_wanted = True
        if self._stage is _Stage.AWAKE and not busy and self._rule.is_due(now_s - self._since_s):
            self._stage = _Stage.LEAVING
            self._links.copy([Piece(self._gpu, HOST, self._weights_bytes)], self._left)
        elif self._stage is _Stage.PARKED and self._is_wanted:
            self._stage = _Stage.CLAIMING
            self._desk.claim(Part.WEIGHTS, self._weights_bytes)
        if self._stage is _Stage.CLAIMING:
            self._await_claim()

    def _left(self) -> None:
        if self._is_wanted:  # a prompt came meanwhile: what has left was a copy
            self._come_home()
            return
        self._stage = _Stage.PARKED
        self._desk.claim(Part.WEIGHTS, 0)
        self._woken()

    def _await_claim(self) -> None:
        if self._desk.settled(Part.WEIGHTS) == self._weights_bytes:
            self._stage = _Stage.RETURNING
            self._links.copy([Piece(HOST, self._gpu, self._weights_bytes)], self._come_home)
        elif self._desk.wanted(Part.WEIGHTS) != self._weights_bytes:  # refused: others claim the GPU now; ask again
            self._desk.claim(Part.WEIGHTS, self._weights_bytes)

    def _come_home(self) -> None:
        self._stage = _Stage.AWAKE
        self._is_wanted = False
        self._since_s = self._desk.clock.now_s()
        self._woken()

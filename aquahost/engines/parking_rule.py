"""When an idle model is to be parked."""

from __future__ import annotations

from collections.abc import Callable

from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.wire import Park, ParkingWish, Pin


class ParkingRule:
    """After `park_after_s` of idleness, at once where someone has asked for it, and never while the model is pinned or
    nobody lends (nobody needs the room then); in any case only once the engine has given up all else that it holds."""

    def __init__(self, desk: MemoryDesk, *, pin: bool, ready_to_park: Callable[[], bool]) -> None:
        self._desk = desk
        self._ready_to_park = ready_to_park
        self.pinned = pin
        self.is_asked = False
        """Whether idleness need not last."""

    def on_wish(self, wish: ParkingWish) -> None:
        """Someone asks for the model to be parked, woken, pinned or unpinned."""
        self.is_asked = isinstance(wish, Park)
        if isinstance(wish, Pin):
            self.pinned = wish.pinned

    def after_s(self) -> float:
        """How long it must have been idle."""
        after_s = self._desk.settings.park_after_s
        if self.pinned or not self._desk.has_broker:
            return float("inf")
        return 0.0 if self.is_asked else float("inf") if after_s is None else after_s

    def is_due(self, idle_s: float) -> bool:
        """Whether to park now what has been idle for so long."""
        return idle_s >= self.after_s() and self._ready_to_park()

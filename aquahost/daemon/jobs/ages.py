"""How old things are, by a wall clock that may jump. Pure."""

from __future__ import annotations

JUMP_S = 60.0
"""By which a wall clock, between two looks at it, may run ahead of a steady one without having jumped."""


class Ages:
    """The wall clock as ages are told by it: what it jumps ahead while the daemon runs makes nothing older.

    A clock that jumps back makes things younger, which costs nobody anything but room.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._ahead_s = 0.0

    def now_s(self, wall_s: float, steady_s: float) -> tuple[float, float]:
        """The time by which ages count, from both clocks as they are now; and by how much the wall clock has jumped
        since the last call, 0 if it has not."""
        jump_s = 0.0
        if self._last is not None:
            drift_s = (wall_s - self._last[0]) - (steady_s - self._last[1])
            if abs(drift_s) > JUMP_S:
                jump_s = drift_s
                self._ahead_s = max(0.0, self._ahead_s + jump_s)
        self._last = wall_s, steady_s
        return wall_s - self._ahead_s, jump_s

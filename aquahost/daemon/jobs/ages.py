"""How old things are, by a wall clock that may jump. Pure."""

from __future__ import annotations

JUMP_S = 60.0
"""By which a wall clock, between two looks at it, may run ahead of a steady one without having jumped."""


class Ages:
    """Ages by the wall clock, which makes nothing older by what it has jumped ahead since that thing came.

    A clock that jumps back makes things younger, which costs nobody anything but room.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._jumps: list[tuple[float, float]] = []
        """What the wall clock would have shown without each jump ahead, and by how much it jumped."""

    def look(self, wall_s: float, steady_s: float) -> float:
        """Take in both clocks as they are now; returns by how much the wall clock has jumped since the last look, 0 if
        it has not."""
        jump_s = 0.0
        if self._last is not None:
            expected_s = self._last[0] + steady_s - self._last[1]
            if abs(wall_s - expected_s) > JUMP_S:
                jump_s = wall_s - expected_s
                self._note(expected_s, jump_s)
        self._last = wall_s, steady_s
        return jump_s

    def age_s(self, since_s: float) -> float:
        """How old at the last look is what came when the wall clock showed `since_s`."""
        assert self._last is not None, "look first"
        return self._last[0] - since_s - sum(jump_s for expected_s, jump_s in self._jumps if since_s <= expected_s)

    def _note(self, expected_s: float, jump_s: float) -> None:
        if jump_s > 0:
            self._jumps.append((expected_s, jump_s))
        while jump_s < 0 and self._jumps:  # it takes back what it had jumped ahead
            last_s, ahead_s = self._jumps.pop()
            if ahead_s + jump_s > 0:
                self._jumps.append((last_s, ahead_s + jump_s))
            jump_s += ahead_s

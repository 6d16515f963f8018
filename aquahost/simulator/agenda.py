"""Virtual time: what is to happen, and when. Time jumps from one thing to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Action = Callable[[], None]


class Entry:
    """Something that is to happen."""

    __slots__ = ("action", "at_s")

    def __init__(self, at_s: float, action: Action) -> None:
        self.at_s = at_s
        self.action: Action | None = action

    def cancel(self) -> None:
        """Let it not happen; harmless once it has."""
        self.action = None


class Agenda:
    """A `Clock` that owns what is to happen. Deterministic: things due at one instant happen in the order in which they
    were entered."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._entries: list[tuple[float, int, Entry]] = []
        self._entered = 0

    def now_s(self) -> float:
        """The instant that the node has reached."""
        return self._now_s

    def at(self, at_s: float, action: Action) -> Entry:
        """Let `action` happen then, or now if that is past."""
        entry = Entry(max(at_s, self._now_s), action)
        self._entered += 1
        heappush(self._entries, (entry.at_s, self._entered, entry))
        return entry

    def after(self, delay_s: float, action: Action) -> Entry:
        """Let `action` happen so many seconds from now."""
        return self.at(self._now_s + delay_s, action)

    def run(self, until_s: float) -> bool:
        """Let everything happen that is due up to `until_s`, which is then the present; False once nothing is left."""
        entries = self._entries
        while entries and entries[0][0] <= until_s:
            at_s, _, entry = heappop(entries)
            if entry.action is not None:
                self._now_s = at_s
                action, entry.action = entry.action, None
                action()
        self._now_s = max(self._now_s, until_s)
        return bool(entries)

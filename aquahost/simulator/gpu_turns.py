"""Models that share a GPU compute in turns, as their workers agree it: scheduling.gpu_turns on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aquahost.scheduling.gpu_turns import Sharer, may_take, must_let_go, start_s
from aquahost.simulator.agenda import Agenda

LOOK_S = 0.001
"""A worker that waits looks at the board this often."""


@dataclass(slots=True, eq=False)
class _Member:
    wake: Callable[[], None]
    wants: bool = False
    virtual_s: float = 0.0


class GpuTurns:
    """Owns whose turn it is on one GPU. A member that is alone has it always."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._members: list[_Member] = []
        self._holder: int | None = None
        self._freed_s = 0.0
        self._held_since_s = 0.0
        self.busy_s = 0.0
        """Time in which something was computed."""

    def join(self, wake: Callable[[], None]) -> int:
        """A model lives here; returns its slot. `wake` is called when it may have the turn now."""
        self._members.append(_Member(wake))
        return len(self._members) - 1

    @property
    def is_contended(self) -> bool:
        """Whether somebody waits."""
        return any(one.wants and slot != self._holder for slot, one in enumerate(self._members))

    def take(self, slot: int) -> bool:
        """Have the turn, or wait for it."""
        if len(self._members) == 1 or self._holder == slot:
            return True
        member, now_s = self._members[slot], self._agenda.now_s()
        if not member.wants:
            member.wants = True
            member.virtual_s = start_s(slot, self._sharers(), now_s)
            if self._holder is not None:
                self._members[self._holder].wake()  # whose long stretch of steps ends where another one wants to step
        if self._holder is None and may_take(slot, self._sharers(), self._freed_s, now_s):
            self._holder, self._held_since_s = slot, now_s
            return True
        return False

    def stepped(self, slot: int, took_s: float) -> None:
        """The holder has computed for so long; the turn may go to another one now."""
        self.busy_s += took_s
        if len(self._members) == 1:
            return
        now_s = self._agenda.now_s()
        self._members[slot].virtual_s += took_s
        if must_let_go(slot, self._sharers(), now_s - self._held_since_s, now_s):
            self._let_go()

    def leave(self, slot: int) -> None:
        """A member has nothing to compute."""
        self._members[slot].wants = False
        if self._holder == slot:
            self._let_go()

    def _let_go(self) -> None:
        self._holder, self._freed_s = None, self._agenda.now_s()
        waiting = [one for one in self._members if one.wants]
        for one in sorted(waiting, key=lambda one: one.virtual_s):
            self._agenda.after(LOOK_S, one.wake)

    def _sharers(self) -> list[Sharer]:
        now_s = self._agenda.now_s()
        return [Sharer(slot, one.wants, one.virtual_s, now_s) for slot, one in enumerate(self._members)]

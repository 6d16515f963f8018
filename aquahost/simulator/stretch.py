"""Steps of a simulated language model that only decode, taken at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from aquahost.profiles.step_costs import StepCosts, StepShape
from aquahost.simulator.agenda import Agenda

LONGEST_STRETCH = 128
"""Steps taken at once; memory is asked for 256 tokens ahead, so that it must be looked at sooner."""


class Stretch:
    """Owns when its steps end. What they compute is told once the last one has ended, unless it is cut short."""

    def __init__(
        self, agenda: Agenda, costs: StepCosts, steps: int, *, decodes: int, context: int, ended: Callable[[], None]
    ) -> None:
        """`context`: what the first step attends to; `ended` is called when the last one has ended."""
        self.began_s = at_s = agenda.now_s()
        self.ends_s: list[float] = []
        for step in range(min(steps, LONGEST_STRETCH)):
            at_s += costs.seconds(StepShape(decodes=decodes, context=context + step * decodes))
            self.ends_s.append(at_s)
        self._agenda = agenda
        self._ended = ended
        self._entry = agenda.at(at_s, ended)

    @property
    def took_s(self) -> list[float]:
        """What each step takes."""
        begins_s = [self.began_s, *self.ends_s]
        return [end_s - begin_s for begin_s, end_s in zip(begins_s, self.ends_s, strict=False)]

    def done_by(self, at_s: float) -> int:
        """How many steps have ended then."""
        return bisect_right(self.ends_s, at_s)

    def cut_short(self) -> None:
        """End with the step that is under way now."""
        steps = bisect_left(self.ends_s, self._agenda.now_s()) + 1
        if steps < len(self.ends_s):
            self._entry.cancel()
            del self.ends_s[steps:]
            self._entry = self._agenda.at(self.ends_s[-1], self._ended)

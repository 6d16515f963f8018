"""Leases as they come and go."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from aquahost.messages.snapshot import LeaseState, LeaseView

FLASH_S = 1.2
"""How long a grant or a recall stands out."""
MOST_ENDED = 200


@dataclass(slots=True)
class LeaseRecord:
    """One lease since it was first seen."""

    view: LeaseView
    """As it was last seen."""
    most_bytes: int
    recalled_s: float | None = None
    """When its donor was first seen to want it back."""
    ended_s: float | None = None

    @property
    def held_s(self) -> float:
        """How long it lasted, or has lasted so far."""
        return self.view.age_s


class LeaseHistory:
    """Every live lease's record, by id, and the last ones that ended, oldest first."""

    def __init__(self) -> None:
        self.live: dict[int, LeaseRecord] = {}
        self.ended: deque[LeaseRecord] = deque(maxlen=MOST_ENDED)
        self._flashes: dict[tuple[int, int], tuple[LeaseState, float]] = {}

    def take(self, views: Iterable[LeaseView], at_s: float) -> None:
        """The leases at this instant."""
        before, now = self.live, dict[int, LeaseRecord]()
        for view in views:
            record = before.pop(view.id, None)
            if record is None:
                record = LeaseRecord(view, view.nbytes)
                self._flash(view, LeaseState.GRANTED, at_s)
            elif view.nbytes > record.view.nbytes:
                self._flash(view, LeaseState.GRANTED, at_s)
            if view.state is LeaseState.RECALLING and record.view.state is not LeaseState.RECALLING:
                record.recalled_s = at_s
            if view.state is LeaseState.RECALLING:
                self._flash(view, LeaseState.RECALLING, at_s)
            record.view = view
            record.most_bytes = max(record.most_bytes, view.nbytes)
            now[view.id] = record
        for record in before.values():
            record.ended_s = at_s
            self.ended.append(record)
            self._flash(record.view, LeaseState.RETURNED, at_s)
        self.live = now

    def flash(self, donor: int, borrower: int, at_s: float) -> LeaseState | None:
        """What happened between two GPUs just now: GRANTED, RECALLING or RETURNED; None where nothing did."""
        state, since_s = self._flashes.get((donor, borrower), (None, 0.0))
        return state if at_s - since_s < FLASH_S else None

    def _flash(self, view: LeaseView, state: LeaseState, at_s: float) -> None:
        self._flashes[view.donor, view.borrower_gpu] = (state, at_s)

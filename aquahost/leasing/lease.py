"""One lease and its life.

requested --> granted --> mapped --> recalling --> returned
                 ^           ^           |
                 +-----------+-----------+  what was recalled is back, and something is left
                                         +--> lost, as from any state before it
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.messages.snapshot import LeaseState

_ENDS = frozenset({LeaseState.RETURNED, LeaseState.LOST})
LEGAL_TRANSITIONS: dict[LeaseState, frozenset[LeaseState]] = {
    LeaseState.REQUESTED: frozenset({LeaseState.GRANTED}),
    LeaseState.GRANTED: frozenset({LeaseState.MAPPED, LeaseState.RECALLING}) | _ENDS,
    LeaseState.MAPPED: frozenset({LeaseState.RECALLING}) | _ENDS,
    LeaseState.RECALLING: frozenset({LeaseState.GRANTED, LeaseState.MAPPED}) | _ENDS,
    LeaseState.RETURNED: frozenset(),
    LeaseState.LOST: frozenset(),
}


@dataclass(slots=True, kw_only=True)
class Lease:
    """Memory of one GPU for a worker of another one. The ledger alone changes it, since sums depend on it."""

    id: int
    donor: int
    """The GPU whose memory it is."""
    borrower: int
    """The worker that may use it."""
    nbytes: int
    """What the borrower has of it, or may have once it has mapped it."""
    granted_s: float
    state: LeaseState = LeaseState.REQUESTED
    keep_bytes: int = field(init=False)
    """What it may keep: `nbytes`, unless some of it is recalled."""
    is_mapped: bool = False
    recalled_s: float = 0.0
    """When what is recalled now was first asked for."""
    deadline_s: float | None = None
    """When it is due; None where nothing is recalled."""
    returned_bytes: int = 0
    """What has come back of it and is not announced yet."""
    is_overdue: bool = False
    """Whether it was announced as late."""

    def __post_init__(self) -> None:
        self.keep_bytes = self.nbytes

    @property
    def recalled_bytes(self) -> int:
        """What the donor has asked back and does not have yet."""
        return self.nbytes - self.keep_bytes

    @property
    def kill_s(self) -> float:
        """When a borrower that does not give back what is recalled has had twice the time it was allowed."""
        assert self.deadline_s is not None
        return 2 * self.deadline_s - self.recalled_s

    def enter(self, state: LeaseState) -> None:
        """Go on to another state. Raises AssertionError where that is no legal transition."""
        if state is not self.state:
            if state not in LEGAL_TRANSITIONS[self.state]:
                raise AssertionError(f"lease {self.id}: {self.state} -> {state} is no legal transition")
            self.state = state

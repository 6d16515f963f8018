"""Who computes on a GPU that several models share: one worker at a time, for a slice, then whoever has had least.

Fairness here is among models, by equal device time; how a model's own time is shared among tenants and prompts is for
its engine to say. Every worker decides for itself on what all of them have written down, so nobody is in charge whose
death would matter:

- The holder of the turn keeps it while nobody else wants it, and at least for `SLICE_S` or one step, whichever is
  longer. Then it lets go if another one that wants it has had less.
- A free turn is taken by the one that wants it and has had least. If that one does not come within `HANDOVER_S` (it is
  stopped, dead, or busy with messages) any other may take it.
- A holder that has ended loses the turn at once, and one that has not been heard of for `PATIENCE_S` loses it too: it
  hangs, or is stopped, and whoever watches over workers will deal with it; or its step is very long, and then the two
  compute at the same time for once, which costs time and harms nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SLICE_S = 0.05
"""How long a worker may compute while others wait; a longer step is not cut."""
HANDOVER_S = 0.005
"""How long a free turn waits for the worker that should have it; several times the pause between looks at it."""
STALE_S = 1.0
"""A worker that waits looks every millisecond; one not heard of for this long does not wait any more."""
PATIENCE_S = 3.0
"""How long a holder may be silent, which it is during a step."""


@dataclass(frozen=True, slots=True)
class Sharer:
    """What one worker has written down."""

    slot: int
    wants: bool
    """It has the turn, or waits for it."""
    virtual_s: float
    """Device time that it has had, and what it was lifted by when it came (back)."""
    seen_s: float
    """When it last wrote."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is."""

    holder: int | None
    """Slot of the worker that computes."""
    freed_s: float
    """When the turn was last let go."""


def is_silent(sharer: Sharer, now_s: float) -> bool:
    """Whether a holder has lost the turn because it was not heard of for too long."""
    return now_s - sharer.seen_s > PATIENCE_S


def start_s(me: int, sharers: Sequence[Sharer], now_s: float) -> float:
    """The virtual time of a worker that begins to want the turn: nobody saves up a claim by being idle, or stopped."""
    own_s = next(one.virtual_s for one in sharers if one.slot == me)
    active = [one.virtual_s for one in sharers if one.wants and one.slot != me and not is_silent(one, now_s)]
    # Where nobody computes, all that came before is settled: a newcomer begins where the one that has had most stands.
    return max(own_s, min(active, default=max(one.virtual_s for one in sharers)))


def may_take(me: int, sharers: Sequence[Sharer], freed_s: float, now_s: float) -> bool:
    """Whether a worker that wants the turn, which is free, is the one to take it."""
    waiting = [one for one in sharers if one.wants and (one.slot == me or now_s - one.seen_s <= STALE_S)]
    first = min(waiting, key=lambda one: (one.virtual_s, one.slot))
    return first.slot == me or now_s - freed_s > HANDOVER_S


def must_let_go(me: int, sharers: Sequence[Sharer], held_s: float, now_s: float) -> bool:
    """Whether the holder's slice is over and another one is to have the turn."""
    if held_s < SLICE_S or len(sharers) < 2:
        return False
    own_s = next(one.virtual_s for one in sharers if one.slot == me)
    return any(
        one.wants and one.slot != me and one.virtual_s < own_s and now_s - one.seen_s <= STALE_S for one in sharers
    )

"""How lending is held in bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasingLimits:
    """Sizes in bytes, times in seconds; what models.yaml does not set has its default here."""

    headroom_bytes: int = 0
    """Memory of each GPU that is never lent."""
    recall_deadline_s: float = 1.0
    """How late recalled memory may be, beyond the time that copying it takes."""
    cooldown_s: float = 5.0
    """A GPU that took memory back lends none for this long."""
    retry_s: float = 5.0
    """A borrower that could not map a GPU's memory is lent none of it for this long."""
    stall_s: float = 1.0
    """Time that jumps by more than this means that the daemon stood still, and could hear no worker."""
    unmeasured_bytes_per_s: float = 1e9
    """Taken for a link that was not measured."""

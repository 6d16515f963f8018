"""How patient the daemon is with a worker."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.units import format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisionLimits:
    """Times in seconds; defaults of what models.yaml does not set."""

    heartbeat_timeout_s: float = 15.0
    loading_patience: float = 4.0
    """Times `heartbeat_timeout_s` while it loads: importing a large library silences a worker that is well."""
    step_timeout_s: float = 300.0
    max_restarts: int = 5
    """Crashes in a row after which the model is failed. A worker that was ready and is killed from outside begins a
    new row."""
    first_backoff_s: float = 0.25
    """Before the first restart; doubles with each crash in a row."""
    max_backoff_s: float = 30.0
    healthy_s: float = 60.0
    """Ready for this long, a worker's earlier crashes are forgotten."""
    stuck_s: float = 2.0
    """Without a pass of its loop for this long, a worker that is killed for another reason may be stuck in a prompt."""
    stop_grace_s: float = 5.0
    """From StopWorker to KillWorker."""
    stall_s: float = 2.0
    """Time that jumps by more than this means that the daemon itself stood still, and could hear no heartbeat."""

    def backoff_s(self, crashes: int) -> float:
        """Wait before the restart after this many crashes in a row (1, 2, ...)."""
        return min(self.max_backoff_s, self.first_backoff_s * 2.0 ** min(crashes - 1, 60))

    def in_a_row(self, crashes: int) -> str:
        """What to add to the reason of a crash that was not the first in a row: how many are borne, and the wait."""
        if crashes == 1:
            return ""
        again = format_seconds(self.backoff_s(crashes))
        return f", crash {crashes} in a row ({self.max_restarts} are borne); the next begins after {again}"

"""How long prompts waited for their first token, over the last minute."""

from __future__ import annotations

from collections import deque

from aquahost.messages.snapshot import FirstTokensView

WINDOW_S = 60.0
KEPT = 2048


class FirstTokens:
    """Times to the first token, or step, of the prompts that began in the last minute; of the newest `KEPT` at most."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = deque(maxlen=KEPT)
        """When a prompt began, and how long it had waited."""

    def note(self, waited_s: float, now_s: float) -> None:
        """A prompt begins."""
        self._waits.append((now_s, waited_s))

    def view(self, now_s: float) -> FirstTokensView:
        """What a snapshot shows of them."""
        while self._waits and now_s - self._waits[0][0] > WINDOW_S:
            self._waits.popleft()
        waits = sorted(waited_s for _, waited_s in self._waits)
        if not waits:
            return FirstTokensView()
        return FirstTokensView(prompts=len(waits), p50_s=_percentile(waits, 50), p99_s=_percentile(waits, 99))


def _percentile(ordered: list[float], percent: int) -> float:
    """The least value that so many percent of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

"""What one worker was at in about the last second, from the figures that it reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from aquahost.daemon.last_second import SILENCE_S, WINDOW_S, LastSecond
from aquahost.messages.snapshot import FlowView
from aquahost.messages.wire import EngineStats

Way = tuple[int, int]
"""From one GPU to another; -1 is host memory."""


class RecentWork:
    """How busy a worker kept its GPU, and which way its KV went. Pure."""

    def __init__(self) -> None:
        self._busy: LastSecond[str] = LastSecond()
        self._traffic: LastSecond[Way] = LastSecond()
        self._runs = False

    def note(self, stats: EngineStats, now_s: float) -> None:
        """The worker reports."""
        self._busy.note({"s": stats.busy_s}, now_s)
        self._traffic.note({(one.source, one.target): float(one.nbytes) for one in stats.traffic}, now_s)
        self._runs = stats.running > 0

    def busy_share(self, now_s: float) -> float:
        """Share of the second in which a step was being computed, 0 to 1. A worker that has prompts to compute and is
        silent is in a long step."""
        silent_s = self._busy.silent_s(now_s)
        in_step_s = silent_s if self._runs and silent_s > SILENCE_S else 0.0
        return min(1.0, (self._busy.growth(now_s).get("s", 0.0) + in_step_s) / WINDOW_S)

    def bytes_per_s(self, now_s: float) -> dict[Way, float]:
        """What went from place to place; only the ways that something went."""
        return {way: nbytes / WINDOW_S for way, nbytes in self._traffic.growth(now_s).items()}


def flow_views(workers: Iterable[RecentWork], now_s: float) -> list[FlowView]:
    """What a snapshot shows of all workers' traffic together, by place."""
    found: defaultdict[Way, float] = defaultdict(float)
    for worker in workers:
        for way, bytes_per_s in worker.bytes_per_s(now_s).items():
            found[way] += bytes_per_s
    return [FlowView(source=a, target=b, bytes_per_s=rate) for (a, b), rate in sorted(found.items())]

"""What went between each two ends over time."""

from __future__ import annotations

from collections.abc import Iterable

from aquahost.messages.snapshot import FlowView
from aquahost_tui.store.series import Series


class PairTraffic:
    """Bytes a second from one GPU to another, or from and to host memory (-1), for each way that was ever used."""

    def __init__(self) -> None:
        self._series: dict[tuple[int, int], Series] = {}

    def take(self, flows: Iterable[FlowView], at_s: float) -> None:
        """The traffic at this instant; a way that is not named has none."""
        now = {(flow.source, flow.target): flow.bytes_per_s for flow in flows}
        for way in now.keys() - self._series.keys():
            self._series[way] = Series()
        for way, series in self._series.items():
            series.add(at_s, now.get(way, 0.0))

    def between(self, source: int, target: int) -> Series:
        """One direction's; an empty one where nothing ever went."""
        return self._series.get((source, target)) or Series()

"""When a copy over a link ends: directed links of a node, each carrying one copy at a time."""

from __future__ import annotations

import threading

from aquahost_cuda.emulated.faults import FaultBoard
from aquahost_cuda.emulated.node import HOST, EmulatedNode

Link = tuple[int, int]
"""(source, target): GPU numbers, or HOST."""


class LinkTable:
    """Occupation of each directed link by this process's copies, as times of the monotonic clock."""

    def __init__(self, node: EmulatedNode, faults: FaultBoard) -> None:
        self._node = node
        self._faults = faults
        self._busy_until_s: dict[Link, float] = {}
        self._mutex = threading.Lock()

    def occupy(self, loads: dict[Link, int], now_s: float) -> float:
        """Queue a transfer of these bytes on each link, and return when the last of it arrives.

        Links work side by side; on each, a transfer begins when the one before it has arrived, and takes
        latency + bytes / rate. Copies within a GPU, or within the host, cost nothing here.
        """
        end_s = now_s
        with self._mutex:
            for link, nbytes in loads.items():
                if link[0] == link[1]:
                    continue
                start_s = max(now_s, self._busy_until_s.get(link, 0.0))
                arrival_s = start_s + self.transfer_s(link, nbytes)
                self._busy_until_s[link] = arrival_s
                end_s = max(end_s, arrival_s)
        return end_s

    def transfer_s(self, link: Link, nbytes: int) -> float:
        """Time that `nbytes` take on a link that is free."""
        node = self._node
        if HOST in link:
            latency_s, bytes_per_s = node.host_latency_s, node.host_bytes_per_s
        else:
            latency_s, bytes_per_s = node.peer_latency_s, node.peer_bytes_per_s
        return latency_s + nbytes * self.slowdown(link) / bytes_per_s

    def slowdown(self, link: Link) -> float:
        """What the link's rate is divided by now; 1 where it is healthy."""
        for slow in self._faults.current().slow_links:
            if (slow.source, slow.target) == link:
                return slow.factor
        return 1.0

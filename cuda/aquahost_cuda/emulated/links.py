"""When a copy over a link ends: directed links of a node, each carrying one copy at a time."""

from __future__ import annotations

from aquahost_cuda.emulated.faults import FaultBoard
from aquahost_cuda.emulated.link_times import Link, LinkTimes
from aquahost_cuda.emulated.node import HOST, EmulatedNode


class LinkTable:
    """Occupation of each directed link by the copies of all processes, as times of the monotonic clock.

    Safe for threads. OSError where the node's folder is unusable.
    """

    def __init__(self, node: EmulatedNode, faults: FaultBoard) -> None:
        self._node = node
        self._faults = faults
        self._times = LinkTimes(node.path)

    def occupy(self, loads: dict[Link, int], now_s: float) -> float:
        """Queue a transfer of these bytes on each link, and return when the last of it arrives.

        Links work side by side; on each, a transfer begins when the one before it has arrived, whichever process's
        that is, and takes latency + bytes / rate. Copies within a GPU, or within the host, cost nothing here. Refuses
        with CUDA_ERROR_DEINITIALIZED after `close`.
        """
        crossed = {link: self.transfer_s(link, nbytes) for link, nbytes in loads.items() if link[0] != link[1]}
        return self._times.take(crossed, now_s) if crossed else now_s

    def close(self) -> None:
        """Let the node's times go; more than once is harmless."""
        self._times.close()

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

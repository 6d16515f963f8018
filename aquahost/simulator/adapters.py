"""LoRA adapters of a simulated language model: a few on its GPU, the others with neighbours or in host memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial

from aquahost.messages.memory import (
    Demand,
    LeaseGranted,
    LeaseMapped,
    LeaseRecalled,
    LeaseReturned,
    MemoryInstruction,
    MemoryReport,
)
from aquahost.simulator.lending import SimLending
from aquahost.simulator.links import HOST, Links, Part


class Adapters:
    """Owns which adapters are on the GPU. Each is one flat copy; what is on the GPU is used by any number of prompts,
    and the one that was not used for longest makes room. Adapters never change, so that nothing is written back.

    Their place elsewhere is memory borrowed of neighbours, as far as it is lent; what is recalled is given back at
    once, for the host has them all.
    """

    def __init__(
        self,
        links: Links,
        gpu: int,
        *,
        count: int,
        nbytes: int,
        slots: int,
    ) -> None:
        """`slots`: adapters that the GPU has room for, at least one."""
        self._links = links
        self._gpu = gpu
        self._count = count
        self._nbytes = nbytes
        self._slots = slots
        self._here: OrderedDict[int, int] = OrderedDict()
        """Prompts that use each adapter on the GPU, the one used least recently first."""
        self._coming: dict[int, list[Callable[[], None]]] = {}
        self._queue: deque[tuple[int, Callable[[], None]]] = deque()
        self._leases: dict[int, tuple[int, int]] = {}
        """Donor and adapters, by lease."""
        self._report: Callable[[list[MemoryReport]], None] = lambda reports: None
        self.loads = 0

    @property
    def here_bytes(self) -> int:
        """What the GPU's own room for them takes."""
        return self._slots * self._nbytes

    def borrow(self, lending: SimLending, worker_id: int, name: str) -> None:
        """Ask neighbours to keep them."""
        lending.join(worker_id, name, self._gpu, self)
        self._report = partial(lending.report, worker_id)
        lending.report(worker_id, [Demand(self._count * self._nbytes, self._nbytes)])

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's word."""
        match message:
            case LeaseGranted(lease_id, donor, nbytes):
                self._leases[lease_id] = donor, nbytes // self._nbytes
                self._report([LeaseMapped(lease_id)])
            case LeaseRecalled(lease_id, keep_bytes) if lease_id in self._leases:
                donor, adapters = self._leases[lease_id]
                self._leases[lease_id] = donor, keep_bytes // self._nbytes
                self._report([LeaseReturned(lease_id, adapters * self._nbytes - keep_bytes)])

    def on_killed(self, reason: str) -> None:
        """It never is: what is recalled is given back at once."""
        raise AssertionError(reason)

    def need(self, adapter: int, ready: Callable[[], None]) -> None:
        """Call `ready` once the adapter is on the GPU, perhaps at once; it stays until `done`."""
        if adapter in self._here:
            self._use(adapter)
            ready()
        elif adapter in self._coming:
            self._coming[adapter].append(ready)
        elif not self._begin(adapter, ready):
            self._queue.append((adapter, ready))

    def done(self, adapter: int) -> None:
        """A prompt needs it no longer."""
        self._here[adapter] -= 1
        queue, self._queue = self._queue, deque()
        for wanted, ready in queue:
            self.need(wanted, ready)

    def _begin(self, adapter: int, ready: Callable[[], None]) -> bool:
        if len(self._here) + len(self._coming) >= self._slots:
            idle = next((one for one, users in self._here.items() if not users), None)
            if idle is None:
                return False
            del self._here[idle]
        self._coming[adapter] = [ready]
        self.loads += 1
        self._links.copy([Part(self._place(adapter), self._gpu, self._nbytes)], partial(self._arrived, adapter))
        return True

    def _arrived(self, adapter: int) -> None:
        self._here[adapter] = 0
        for ready in self._coming.pop(adapter):
            self._use(adapter)
            ready()

    def _use(self, adapter: int) -> None:
        self._here[adapter] += 1
        self._here.move_to_end(adapter)

    def _place(self, adapter: int) -> int:
        """The GPU that keeps it, or the host."""
        left = adapter
        for donor, adapters in self._leases.values():
            if left < adapters:
                return donor
            left -= adapters
        return HOST

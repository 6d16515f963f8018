"""Serves demands from what is free."""

from __future__ import annotations

from collections.abc import Collection

from aquahost.events import EventKind
from aquahost.leasing.donors import Want, share_out
from aquahost.leasing.instructions import Announce, GrantLease, Instruction
from aquahost.leasing.ledger import Ledger
from aquahost.leasing.limits import LeasingLimits
from aquahost.leasing.links import Links
from aquahost.units import format_bytes

Grants = dict[tuple[int, int], int]
"""Bytes granted by (worker, donor)."""


class Lender:
    """Grants leases; keeps no state but the ledger's."""

    def __init__(self, ledger: Ledger, limits: LeasingLimits) -> None:
        self._ledger = ledger
        self._limits = limits

    def lend(self, links: Links, donors: Collection[int], now_s: float, out: list[Instruction]) -> Grants:
        """Serve every unmet demand as far as these GPUs can; what is to be done is added to `out`."""
        hungry = [worker for worker in self._ledger.workers.values() if worker.demand_bytes > worker.kept_bytes]
        if not hungry:
            return {}
        rooms = self._rooms(donors, min(worker.granule_bytes for worker in hungry), now_s)
        if not rooms:
            return {}
        wants = []
        for worker in hungry:
            rates = {
                donor: rate
                for donor in rooms
                if (rate := links.between(worker.gpu, donor)) and worker.avoids_until_s.get(donor, now_s) <= now_s
            }
            if rates and worker.unmet_bytes:
                wants.append(
                    Want(
                        worker=worker.id,
                        held_bytes=worker.kept_bytes,
                        wanted_bytes=worker.unmet_bytes,
                        granule_bytes=worker.granule_bytes,
                        rates=rates,
                    )
                )
        grants = share_out(wants, rooms) if wants else {}
        for (worker_id, donor), nbytes in grants.items():
            rate = links.between(self._ledger.workers[worker_id].gpu, donor)
            self._grant(worker_id, donor, nbytes, rate, now_s, out)
        return grants

    def _rooms(self, donors: Collection[int], least_bytes: int, now_s: float) -> dict[int, int]:
        headroom_bytes, gpus = self._limits.headroom_bytes, self._ledger.gpus
        rooms = {donor: gpus[donor].lendable_bytes(headroom_bytes, now_s) for donor in donors}
        return {donor: room for donor, room in rooms.items() if room >= least_bytes}

    def _grant(
        self, worker_id: int, donor: int, nbytes: int, bytes_per_s: float, now_s: float, out: list[Instruction]
    ) -> None:
        worker = self._ledger.workers[worker_id]
        lease = self._ledger.grant(donor, worker, nbytes, now_s)
        out.append(GrantLease(worker_id, lease.id, donor, nbytes, bytes_per_s))
        message = f"{worker.name} borrows {format_bytes(nbytes)} of GPU {donor} (lease {lease.id})"
        out.append(Announce(EventKind.LEASE_GRANTED, message, worker.name))

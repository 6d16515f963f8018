"""Gets lent memory back: what is asked of whom, until when, and what happens to those who are late."""

from __future__ import annotations

from collections.abc import Iterable

from aquahost.events import EventKind
from aquahost.leasing.accounts import GpuAccount, WorkerAccount
from aquahost.leasing.instructions import Announce, Instruction, KillWorker, RecallLease
from aquahost.leasing.lease import Lease
from aquahost.leasing.ledger import Ledger
from aquahost.leasing.lender import Grants
from aquahost.leasing.limits import LeasingLimits
from aquahost.leasing.links import Links
from aquahost.leasing.recall_choice import Recallable, choose_recalls
from aquahost.units import format_bytes, format_seconds


class Recaller:
    """Recalls leases and watches over their deadlines."""

    def __init__(self, ledger: Ledger, limits: LeasingLimits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._looked_s = float("-inf")

    def choose(self, gpu: GpuAccount, nbytes: int, links: Links, now_s: float) -> list[Lease]:
        """Mark `nbytes` of a GPU's leases, or a little more, as recalled; `ask` is to follow."""
        options = [self._option(lease, links) for lease in gpu.leases.values()]
        recalled = []
        for lease_id, part_bytes in choose_recalls(options, nbytes):
            lease = self._ledger.leases[lease_id]
            self._ledger.recall(lease, part_bytes, now_s)
            recalled.append(lease)
        if recalled:
            gpu.quiet_until_s = now_s + self._limits.cooldown_s
        return recalled

    def ask(
        self, recalled: Iterable[Lease], replaced: Grants, links: Links, now_s: float, out: list[Instruction]
    ) -> None:
        """Ask the borrowers, each by when copying all that is recalled of it ends, and a little later.

        `replaced` are leases granted at the same time: what fits there is copied at their links' rate, the rest to the
        host.
        """
        for lease in recalled:
            borrower = self._ledger.workers[lease.borrower]
            copy_s = self._copy_s(lease, borrower, replaced, links)
            self._ledger.set_deadline(lease, now_s + copy_s + self._limits.recall_deadline_s)
            assert lease.deadline_s is not None
            out.append(RecallLease(borrower.id, lease.id, lease.keep_bytes, lease.deadline_s))
            message = (
                f"GPU {lease.donor} wants {format_bytes(lease.recalled_bytes)} back from {borrower.name} "
                f"(lease {lease.id}) within {format_seconds(lease.deadline_s - now_s)}"
            )
            out.append(Announce(EventKind.LEASE_RECALLED, message, borrower.name))

    def watch(self, now_s: float, out: list[Instruction]) -> None:
        """Look at the deadlines; to be called several times a second while anything is recalled."""
        for lease in self._ledger.recalling.values():
            self._forgive_own_stall(lease, now_s)
            borrower = self._ledger.workers[lease.borrower]
            assert lease.deadline_s is not None
            late = f"{format_bytes(lease.recalled_bytes)} of GPU {lease.donor} (lease {lease.id})"
            if now_s > lease.deadline_s and not lease.is_overdue:
                lease.is_overdue = True
                message = f"{borrower.name} is late in giving back {late}"
                out.append(Announce(EventKind.LEASE_OVERDUE, message, borrower.name))
            if now_s > lease.kill_s and not borrower.is_killed:
                borrower.is_killed = True
                taken_s = format_seconds(now_s - lease.recalled_s)
                out.append(KillWorker(borrower.id, f"kept {late} for {taken_s} after its recall, and was killed"))
        self._looked_s = now_s

    def _forgive_own_stall(self, lease: Lease, now_s: float) -> None:
        """Whoever could not be heard is not late."""
        gap_s = now_s - max(self._looked_s, lease.recalled_s)
        if gap_s > self._limits.stall_s:
            assert lease.deadline_s is not None
            lease.recalled_s += gap_s
            lease.deadline_s += gap_s

    def _option(self, lease: Lease, links: Links) -> Recallable:
        borrower = self._ledger.workers[lease.borrower]
        return Recallable(
            lease_id=lease.id,
            worker=borrower.id,
            keep_bytes=lease.keep_bytes,
            granule_bytes=borrower.granule_bytes,
            empty_bytes=borrower.unneeded_bytes if lease.is_mapped else lease.keep_bytes,
            bytes_per_s=links.rate(borrower.gpu, lease.donor),
        )

    def _copy_s(self, lease: Lease, borrower: WorkerAccount, replaced: Grants, links: Links) -> float:
        """Seconds to move all that is recalled of a borrower, since its recalls share its links."""
        donors = [donor for worker, donor in replaced if worker == borrower.id]
        near_bytes = min(borrower.recalled_bytes, sum(replaced[borrower.id, donor] for donor in donors))
        near_s = near_bytes / min(links.rate(borrower.gpu, gpu) for gpu in (lease.donor, *donors))
        return near_s + (borrower.recalled_bytes - near_bytes) / links.to_host(borrower, lease)

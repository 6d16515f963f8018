"""The one account of all GPUs' memory."""

from __future__ import annotations

from aquahost.leasing.accounts import GpuAccount, WorkerAccount
from aquahost.leasing.lease import Lease
from aquahost.messages.snapshot import LeaseState


class Ledger:
    """Owns every lease that lives, and the accounts of GPUs and workers; decides nothing.

    Methods expect what is possible (a grant that fits, a lease that is there) and keep all sums in step; `check`
    proves it.
    """

    def __init__(self) -> None:
        self.gpus: dict[int, GpuAccount] = {}
        self.workers: dict[int, WorkerAccount] = {}
        self.leases: dict[int, Lease] = {}
        self.recalling: dict[int, Lease] = {}
        """Leases of which something is recalled."""
        self._last_lease_id = 0

    # -- GPUs and workers --------------------------------------------------------------------------------------

    def gpu(self, index: int) -> GpuAccount:
        """A GPU's account; opened when first asked for."""
        account = self.gpus.get(index)
        if account is None:
            account = self.gpus[index] = GpuAccount(index)
        return account

    def home(self, worker: WorkerAccount) -> GpuAccount:
        """The account of the GPU that a worker lives on."""
        return self.gpus[worker.gpu]

    def join(self, worker: int, name: str, gpu: int) -> None:
        """Open a worker's account, with an empty claim."""
        self.workers[worker] = WorkerAccount(worker, name, gpu)
        self.gpu(gpu).claims[worker] = 0

    def leave(self, worker: WorkerAccount) -> None:
        """Close the account of a worker that has no leases any more; its claim is free."""
        assert not worker.leases, f"worker {worker.id} still has leases"
        home = self.home(worker)
        home.pending.pop(worker.id, None)
        home.owned_bytes -= home.claims.pop(worker.id)
        del self.workers[worker.id]

    def settle(self, worker: WorkerAccount, nbytes: int) -> None:
        """Put a claim in force; none of this worker's waits any more."""
        home = self.home(worker)
        home.pending.pop(worker.id, None)
        home.owned_bytes += nbytes - home.claims[worker.id]
        home.claims[worker.id] = nbytes

    # -- leases ------------------------------------------------------------------------------------------------

    def grant(self, donor: int, borrower: WorkerAccount, nbytes: int, now_s: float) -> Lease:
        """Begin a lease of memory that is free."""
        self._last_lease_id += 1
        lease = Lease(id=self._last_lease_id, donor=donor, borrower=borrower.id, nbytes=nbytes, granted_s=now_s)
        account = self.gpus[donor]
        self.leases[lease.id] = account.leases[lease.id] = borrower.leases[lease.id] = lease
        account.lent_bytes += nbytes
        borrower.kept_bytes += nbytes
        lease.enter(LeaseState.GRANTED)
        return lease

    def map(self, lease: Lease) -> None:
        """The borrower has allocated it."""
        lease.is_mapped = True
        if lease.state is LeaseState.GRANTED:
            lease.enter(LeaseState.MAPPED)

    def recall(self, lease: Lease, nbytes: int, now_s: float) -> None:
        """Ask this much more of a lease back; when it is due is set with `set_deadline`."""
        if lease.state is not LeaseState.RECALLING:
            lease.enter(LeaseState.RECALLING)
            lease.recalled_s = now_s
            self.recalling[lease.id] = lease
        lease.keep_bytes -= nbytes
        self._count_recalled(lease, nbytes)

    def set_deadline(self, lease: Lease, deadline_s: float) -> None:
        """When what is recalled is due; never earlier than it was, since only more can have been recalled."""
        lease.deadline_s = deadline_s if lease.deadline_s is None else max(lease.deadline_s, deadline_s)

    def take_back(self, lease: Lease, nbytes: int) -> None:
        """This much of a lease is free on its donor; all of it ends the lease."""
        recalled = lease.recalled_bytes
        lease.nbytes -= nbytes
        self.gpus[lease.donor].lent_bytes -= nbytes
        lease.keep_bytes = min(lease.keep_bytes, lease.nbytes)
        back = recalled - lease.recalled_bytes
        self._count_recalled(lease, -back)
        self.workers[lease.borrower].kept_bytes -= nbytes
        if lease.nbytes == 0:
            lease.enter(LeaseState.RETURNED)
            self._forget(lease)
        elif lease.state is LeaseState.RECALLING and lease.recalled_bytes == 0:
            lease.enter(LeaseState.MAPPED if lease.is_mapped else LeaseState.GRANTED)
            lease.deadline_s, lease.is_overdue = None, False
            del self.recalling[lease.id]

    def lose(self, lease: Lease) -> None:
        """Nobody holds anything of the lease any more, and what was in it is gone."""
        self._count_recalled(lease, -lease.recalled_bytes)
        self.gpus[lease.donor].lent_bytes -= lease.nbytes
        self.workers[lease.borrower].kept_bytes -= lease.nbytes
        lease.nbytes = lease.keep_bytes = 0
        lease.enter(LeaseState.LOST)
        self._forget(lease)

    def _count_recalled(self, lease: Lease, nbytes: int) -> None:
        borrower = self.workers[lease.borrower]
        self.gpus[lease.donor].recalled_bytes += nbytes
        borrower.recalled_bytes += nbytes
        borrower.kept_bytes -= nbytes

    def _forget(self, lease: Lease) -> None:
        lease.deadline_s = None
        self.recalling.pop(lease.id, None)
        del self.leases[lease.id], self.gpus[lease.donor].leases[lease.id]
        del self.workers[lease.borrower].leases[lease.id]

    # -- proof -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise AssertionError, saying what differs, unless every byte of every GPU is accounted for exactly once."""
        for gpu in self.gpus.values():
            _check_gpu(gpu)
        for worker in self.workers.values():
            _check_worker(worker)
            assert worker.id in self.gpus[worker.gpu].claims, f"worker {worker.id} has no claim on GPU {worker.gpu}"
        for lease in self.leases.values():
            _check_lease(lease)
            assert self.gpus[lease.donor].leases.get(lease.id) is lease, f"lease {lease.id} is not its donor's"
            assert self.workers[lease.borrower].leases.get(lease.id) is lease, f"lease {lease.id} is not its borrower's"
            assert self.workers[lease.borrower].gpu != lease.donor, f"lease {lease.id} lies on its borrower's own GPU"
        for accounts in (self.gpus.values(), self.workers.values()):
            assert sum(len(account.leases) for account in accounts) == len(self.leases), "an account has a dead lease"
        recalling = {lease.id for lease in self.leases.values() if lease.state is LeaseState.RECALLING}
        assert recalling == self.recalling.keys(), f"recalling: {recalling} differs from {self.recalling.keys()}"


def _check_gpu(gpu: GpuAccount) -> None:
    where = f"GPU {gpu.index}"
    _check_sum(f"{where}: owned", gpu.owned_bytes, sum(gpu.claims.values()))
    _check_sum(f"{where}: lent", gpu.lent_bytes, sum(lease.nbytes for lease in gpu.leases.values()))
    _check_sum(f"{where}: recalled", gpu.recalled_bytes, sum(lease.recalled_bytes for lease in gpu.leases.values()))
    taken = gpu.owned_bytes + gpu.lent_bytes
    _check_sum(f"{where}: total", gpu.total_bytes, taken + gpu.other_bytes + gpu.free_bytes)
    assert taken <= gpu.total_bytes, f"{where}: {taken} bytes owned and lent of {gpu.total_bytes}"
    assert gpu.other_bytes >= 0, f"{where}: {gpu.other_bytes} bytes of others"
    assert min(gpu.claims.values(), default=0) >= 0, f"{where}: negative claims {gpu.claims}"
    for worker, nbytes in gpu.pending.items():
        settled = gpu.claims.get(worker)
        assert settled is not None, f"{where}: a claim of worker {worker} waits, who does not live here"
        assert nbytes > settled, f"{where}: worker {worker} waits for {nbytes} bytes and has {settled}"


def _check_worker(worker: WorkerAccount) -> None:
    who, leases = f"worker {worker.id}", worker.leases.values()
    _check_sum(f"{who}: kept", worker.kept_bytes, sum(lease.keep_bytes for lease in leases))
    _check_sum(f"{who}: recalled", worker.recalled_bytes, sum(lease.recalled_bytes for lease in leases))


def _check_lease(lease: Lease) -> None:
    name = f"lease {lease.id}"
    assert 0 <= lease.keep_bytes <= lease.nbytes > 0, f"{name}: keeps {lease.keep_bytes} of {lease.nbytes} bytes"
    is_recalled = lease.recalled_bytes > 0
    assert is_recalled == (lease.deadline_s is not None), f"{name}: due at {lease.deadline_s} with {lease}"
    still = LeaseState.MAPPED if lease.is_mapped else LeaseState.GRANTED
    expected = LeaseState.RECALLING if is_recalled else still
    assert lease.state is expected, f"{name}: is {lease.state} and should be {expected}"


def _check_sum(what: str, kept: int, found: int) -> None:
    assert kept == found, f"{what} is {kept} bytes by the account, {found} by its parts"

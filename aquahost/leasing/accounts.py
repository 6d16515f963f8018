"""The ledger's two kinds of account: a GPU's and a worker's. Changed by the ledger alone."""

from __future__ import annotations

from aquahost.leasing.lease import Lease

LONG_AGO_S = float("-inf")


class GpuAccount:
    """Who has how much of one GPU: owned + lent + other + free = total."""

    __slots__ = (
        "claims", "index", "leases", "lent_bytes", "lost", "other_bytes", "owned_bytes", "pending", "quiet_until_s",
        "recalled_bytes", "total_bytes",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.total_bytes = 0
        """0 until it was read; nothing is settled or lent before."""
        self.other_bytes = 0
        self.owned_bytes = 0
        """Of all settled claims."""
        self.lent_bytes = 0
        """Of all leases, mapped yet or not."""
        self.recalled_bytes = 0
        """How much of that is asked back."""
        self.claims: dict[int, int] = {}
        """Settled bytes of each worker that lives here."""
        self.pending: dict[int, int] = {}
        """Larger claims that wait for memory, by worker, in the order they are served in."""
        self.leases: dict[int, Lease] = {}
        self.lost: str | None = None
        """Why it cannot be used any more."""
        self.quiet_until_s = LONG_AGO_S
        """It lends nothing before this, since it took memory back not long ago."""

    @property
    def free_bytes(self) -> int:
        """What nobody has; negative when other processes took what was lent or owned."""
        return self.total_bytes - self.owned_bytes - self.lent_bytes - self.other_bytes

    @property
    def reachable_bytes(self) -> int:
        """What claims could grow by if every lease came back."""
        return max(0, self.free_bytes + self.lent_bytes) if self.lost is None else 0

    def lendable_bytes(self, headroom_bytes: int, now_s: float) -> int:
        """What it could lend right now; a GPU on which a claim waits lends nothing."""
        if self.pending or self.lost is not None or now_s < self.quiet_until_s:
            return 0
        return self.free_bytes - headroom_bytes


class WorkerAccount:
    """What one worker has, and would have, of GPUs other than its own."""

    __slots__ = (
        "avoids_until_s", "demand_bytes", "gpu", "granule_bytes", "id", "is_killed", "kept_bytes", "leases", "name",
        "recalled_bytes",
    )  # fmt: skip

    def __init__(self, worker: int, name: str, gpu: int) -> None:
        self.id = worker
        self.name = name
        self.gpu = gpu
        self.demand_bytes = 0
        self.granule_bytes = 1
        self.kept_bytes = 0
        """Of its leases, without what is recalled of them."""
        self.recalled_bytes = 0
        self.leases: dict[int, Lease] = {}
        self.avoids_until_s: dict[int, float] = {}
        """GPUs whose memory it could not map, and until when it is lent none of it."""
        self.is_killed = False
        """Whether its end was asked for."""

    @property
    def unmet_bytes(self) -> int:
        """How much more it could use."""
        return 0 if self.is_killed else max(0, self.demand_bytes - self.kept_bytes)

    @property
    def unneeded_bytes(self) -> int:
        """How much it keeps beyond what it could use."""
        return max(0, self.kept_bytes - self.demand_bytes)

"""How fast GPUs reach each other's memory, and the host's."""

from __future__ import annotations

from collections.abc import Mapping

from aquahost.leasing.accounts import WorkerAccount
from aquahost.leasing.lease import Lease


class Links:
    """Rates between GPUs; a pair that is not usable both ways lends nothing to each other."""

    def __init__(
        self, rates: Mapping[tuple[int, int], float], host_rates: Mapping[int, float], unmeasured_bytes_per_s: float
    ) -> None:
        """`rates` are of usable directions, (source, target); a rate of 0 is usable and was not measured."""
        self._pairs = {
            (source, target): min(rate, rates[target, source]) or unmeasured_bytes_per_s
            for (source, target), rate in rates.items()
            if source != target and (target, source) in rates
        }
        self._host_rates = {gpu: rate for gpu, rate in host_rates.items() if rate > 0}
        self._unmeasured = unmeasured_bytes_per_s

    def between(self, one: int, other: int) -> float:
        """Bytes per second between two GPUs in the slower direction; 0 where they cannot lend to each other."""
        return self._pairs.get((one, other), 0.0)

    def rate(self, one: int, other: int) -> float:
        """Bytes per second at which what lies on either of them moves to the other."""
        return self._pairs.get((one, other), self._unmeasured)

    def to_host(self, borrower: WorkerAccount, lease: Lease) -> float:
        """Bytes per second from a lease's memory to the host, whichever of the two GPUs' links the copy takes."""
        host_rates = self._host_rates
        return min(host_rates.get(gpu, self._unmeasured) for gpu in (borrower.gpu, lease.donor))

"""Jobs are charged to accounts of their own, so that nobody who waits has to wait for somebody's batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_SUFFIX = "+jobs"
"""No configured tenant's name holds a plus sign."""
JOB_PRIORITY = 1000
"""Of jobs that name none, where the model's policy is "priority": behind whoever names none."""


def account_of(tenant: str) -> str:
    """The account for a tenant's jobs, a tenant to the scheduler."""
    return tenant + _SUFFIX


def is_account(tenant: str) -> bool:
    """Whether a tenant of the scheduler is an account for jobs: nobody waits for its prompts."""
    return tenant.endswith(_SUFFIX)


class AccountWeights(Mapping[str, float]):
    """The shares of tenants, and of the accounts for their jobs; lists the tenants alone."""

    def __init__(self, tenants: Mapping[str, float], jobs: float) -> None:
        """`tenants`: the shares of those configured; 1 for any other. `jobs`: the share of a tenant's jobs in
        proportion to that."""
        self._tenants = tenants
        self._jobs = jobs

    def __getitem__(self, name: str) -> float:
        if name in self._tenants or not is_account(name):
            return self._tenants[name]
        return self._tenants.get(name.removesuffix(_SUFFIX), 1.0) * self._jobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._tenants)

    def __len__(self) -> int:
        return len(self._tenants)

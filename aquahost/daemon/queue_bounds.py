"""How many prompts may be live at once: of a model, and of a tenant over all models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aquahost.config.settings import Settings
from aquahost.daemon.completion_rate import CompletionRate
from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import QueueFullError


class QueueBounds:
    """Refuses prompts for which there is no room, and says when there may be. Counts each tenant's live prompts.

    Tenants are those of keys, and the one of those who need none, so their number is bounded.
    """

    def __init__(self, of_tenants: Mapping[str, int]) -> None:
        """`of_tenants`: most live prompts of a tenant, by name; any other tenant has the models' bounds alone."""
        self._of_tenants = of_tenants
        self._live: Counter[str] = Counter()
        self._completions: dict[str, CompletionRate] = {}

    def use(self, settings: Settings) -> None:
        """Go by the bounds of this models.yaml from now on."""
        self._of_tenants = _of_tenants(settings)

    def admit(self, model: HostedModel, tenant: str, now_s: float) -> None:
        """Pass a prompt that there is room for; raises QueueFullError."""
        live, most = len(model.prompts), model.settings.max_queue
        if live >= most:
            raise QueueFullError(
                f"the queue of {model.name!r} is full ({live} prompts); try again later",
                code="queue_full",
                retry_after_s=model.completions.retry_after_s(now_s),
                queue_length=live,
            )
        own, own_most = self._live[tenant], self._of_tenants.get(tenant)
        if own_most is not None and own >= own_most:
            raise QueueFullError(
                f"your queue is full ({own} prompts over all models); try again later",
                code="tenant_queue_full",
                retry_after_s=self._completions.setdefault(tenant, CompletionRate()).retry_after_s(now_s),
                queue_length=own,
            )

    def joined(self, tenant: str) -> None:
        """A prompt of this tenant is live from now on."""
        self._live[tenant] += 1

    def left(self, tenant: str, now_s: float, *, completed: bool) -> None:
        """A live prompt of this tenant has ended, by itself or (not `completed`) before its time."""
        self._live[tenant] -= 1
        if completed:
            self._completions.setdefault(tenant, CompletionRate()).note(now_s)


def queue_bounds(settings: Settings) -> QueueBounds:
    """The bounds that models.yaml names."""
    return QueueBounds(_of_tenants(settings))


def _of_tenants(settings: Settings) -> dict[str, int]:
    return {name: tenant.max_queue for name, tenant in settings.tenants.items() if tenant.max_queue is not None}


def jobs_at_once(settings: Settings, model: str) -> int:
    """How many of a model's jobs may run at a time: at most half as many as its queue has places, lest they keep out
    those who wait for an answer; one, which will be refused, of a model that is not hosted."""
    known = settings.models.get(model)
    return 1 if known is None else min(settings.jobs.concurrency, max(1, known.max_queue // 2))

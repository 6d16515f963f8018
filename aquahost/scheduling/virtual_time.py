"""Hierarchical fairness: device time is shared among tenants by weight, and a tenant's share among its prompts.

Start-time fair queueing (Goyal, Vin, Cheng 1996) on two levels: virtual time is service received ÷ weight, whoever has
least goes first, and whoever comes (back) starts at the least of those that are there, so that nobody saves up a claim
by being idle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import NamedTuple


class Rank(NamedTuple):
    """A prompt's place among others at one instant: smaller goes first."""

    level: int
    """Smaller levels go before all others, whatever they have had."""
    tenant_time: float
    prompt_time: float
    arrival: int


@dataclass(slots=True, eq=False)
class _Share:
    """One live prompt."""

    tenant: _Tenant
    level: int
    arrival: int
    virtual_time: float
    service_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Tenant:
    """A tenant with live prompts, or one that is remembered so that leaving and coming back gains nothing."""

    weight: float
    virtual_time: float = 0.0
    prompts: dict[str, _Share] = field(default_factory=dict)
    by_time: list[tuple[float, int, str]] = field(default_factory=list)
    """Heap of (virtual time, arrival, prompt id); times may be of the past, never of the future."""

    def least(self) -> float:
        """The least virtual time of its prompts; 0 without any."""
        heap = self.by_time
        while heap:
            time_s, arrival, prompt_id = heap[0]
            share = self.prompts.get(prompt_id)
            if share is None or share.arrival != arrival:
                heappop(heap)
            elif share.virtual_time != time_s:
                heapreplace(heap, (share.virtual_time, arrival, prompt_id))
            else:
                return time_s
        return 0.0


class VirtualTime:
    """Owns what every live prompt has had. Pure; service is in device seconds.

    Levels are apart: what a tenant has had on one says nothing of another, which it may be waiting behind.
    """

    def __init__(self) -> None:
        self._prompts: dict[str, _Share] = {}
        self._tenants: dict[tuple[int, str], _Tenant] = {}
        self._arrivals = 0

    def add(self, prompt_id: str, tenant: str, *, weight: float = 1.0, level: int = 0) -> None:
        """A prompt arrives, with its tenant's present weight. Raises ValueError for a weight that is not positive."""
        if not weight > 0:
            raise ValueError(f"weight must be above 0, not {weight}")
        active = [one.virtual_time for (of, _), one in self._tenants.items() if of == level and one.prompts]
        if not active:  # a busy period begins: what was before is settled
            self._tenants = {key: one for key, one in self._tenants.items() if key[0] != level}
        known = self._tenants.setdefault((level, tenant), _Tenant(weight))
        known.weight = weight
        if not known.prompts:
            known.virtual_time = max(known.virtual_time, min(active, default=0.0))
        self._arrivals += 1
        share = _Share(known, level, self._arrivals, known.least())
        heappush(known.by_time, (share.virtual_time, share.arrival, prompt_id))
        self._prompts[prompt_id] = known.prompts[prompt_id] = share

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended; unknown ids are ignored."""
        share = self._prompts.pop(prompt_id, None)
        if share is not None:
            del share.tenant.prompts[prompt_id]

    def serve(self, prompt_id: str, service_s: float) -> None:
        """A prompt has had so much of the device."""
        share = self._prompts[prompt_id]
        share.service_s += service_s
        share.virtual_time += service_s
        share.tenant.virtual_time += service_s / share.tenant.weight

    @property
    def tenants(self) -> int:
        """How many tenants have live prompts."""
        return len({name for (_, name), tenant in self._tenants.items() if tenant.prompts})

    def is_behind(self, prompt_id: str) -> bool:
        """Whether no tenant with live prompts of its level has had less than this prompt's, and one has had more."""
        share = self._prompts[prompt_id]
        times = [one.virtual_time for (of, _), one in self._tenants.items() if of == share.level and one.prompts]
        return share.tenant.virtual_time <= min(times) and share.tenant.virtual_time < max(times)

    def service_s(self, prompt_id: str) -> float:
        """What a prompt has had so far."""
        return self._prompts[prompt_id].service_s

    def rank(self, prompt_id: str) -> Rank:
        """A prompt's place at this instant."""
        share = self._prompts[prompt_id]
        return Rank(share.level, share.tenant.virtual_time, share.virtual_time, share.arrival)

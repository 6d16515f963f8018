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
    """Owns what every live prompt has had. Pure; service is in device seconds."""

    def __init__(self) -> None:
        self._prompts: dict[str, _Share] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._arrivals = 0
        self._seen: set[str] = set()
        """Names of tenants, of which a host has few."""

    def add(self, prompt_id: str, tenant: str, *, weight: float = 1.0, level: int = 0) -> None:
        """A prompt arrives, with its tenant's present weight. Raises ValueError for a weight that is not positive."""
        if not weight > 0:
            raise ValueError(f"weight must be above 0, not {weight}")
        known = self._tenants.setdefault(tenant, _Tenant(weight))
        known.weight = weight
        self._seen.add(tenant)
        if not known.prompts:
            active = [one.virtual_time for one in self._tenants.values() if one.prompts]
            known.virtual_time = max(known.virtual_time, min(active, default=0.0))
            self._forget_idle(keep=tenant)
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
    def is_shared(self) -> bool:
        """Whether prompts of more than one tenant have come so far."""
        return len(self._seen) > 1

    def is_behind(self, prompt_id: str) -> bool:
        """Whether no tenant with live prompts has had less than this prompt's, and one has had more."""
        mine = self._prompts[prompt_id].tenant.virtual_time
        times = [tenant.virtual_time for tenant in self._tenants.values() if tenant.prompts]
        return mine <= min(times) and mine < max(times)

    def service_s(self, prompt_id: str) -> float:
        """What a prompt has had so far."""
        return self._prompts[prompt_id].service_s

    def rank(self, prompt_id: str) -> Rank:
        """A prompt's place at this instant."""
        share = self._prompts[prompt_id]
        return Rank(share.level, share.tenant.virtual_time, share.virtual_time, share.arrival)

    def _forget_idle(self, keep: str) -> None:
        """Forget tenants that could not gain by being forgotten: a newcomer would start where they stand, or later."""
        active = [one.virtual_time for one in self._tenants.values() if one.prompts]
        least = min(active, default=0.0)
        self._tenants = {
            name: one for name, one in self._tenants.items() if one.prompts or name == keep or one.virtual_time > least
        }

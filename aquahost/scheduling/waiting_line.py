"""Prompts that can begin or come back, in the order in which fairness wants them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.virtual_time import VirtualTime


class _Key(NamedTuple):
    """Order among the prompts of one tenant, which does not change while they wait."""

    level: int
    has_begun: bool
    """New ones first: the time to their first token is what their users feel."""
    virtual_time: float
    arrival: int


@dataclass(slots=True, eq=False)
class _TenantLine:
    heap: list[tuple[_Key, int, ScheduledPrompt]] = field(default_factory=list)


class WaitingLine:
    """Tenants by virtual time, each tenant's prompts new ones first, then by virtual time.

    Taking the next one costs O(tenants + log prompts). Prompts that ended or began otherwise are left out when they
    come up.
    """

    def __init__(self, fairness: VirtualTime) -> None:
        self._fairness = fairness
        self._tenants: dict[str, _TenantLine] = {}
        self._tickets: dict[str, int] = {}
        """Of each prompt's entry that counts; others are of the past."""
        self._last_ticket = 0
        self._by_time: deque[tuple[int, ScheduledPrompt]] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, prompt: ScheduledPrompt) -> None:
        """A prompt waits from now on, or again."""
        self._last_ticket += 1
        ticket = self._tickets[prompt.id] = self._last_ticket
        line = self._tenants.setdefault(prompt.tenant, _TenantLine())
        heappush(line.heap, (self._key(prompt), ticket, prompt))
        self._by_time.append((ticket, prompt))
        self._compact(line)

    def put_back(self, prompt: ScheduledPrompt) -> None:
        """One that was taken waits on, since when it did."""
        self._last_ticket += 1
        ticket = self._tickets[prompt.id] = self._last_ticket
        line = self._tenants.setdefault(prompt.tenant, _TenantLine())
        heappush(line.heap, (self._key(prompt), ticket, prompt))
        self._by_time.appendleft((ticket, prompt))

    def discard(self, prompt_id: str) -> None:
        """A prompt waits no longer; unknown ids are ignored."""
        self._tickets.pop(prompt_id, None)

    def take(self, overdue_since_s: float) -> ScheduledPrompt | None:
        """The next one, which then waits no longer; whoever waits since before `overdue_since_s` goes first."""
        prompt = self._longest_waiting()
        if prompt is None:
            return None
        if prompt.since_s >= overdue_since_s or not prompt.has_begun:
            prompt = self._first()
        del self._tickets[prompt.id]
        return prompt

    def in_order(self) -> list[ScheduledPrompt]:
        """All of them, as they would be taken if nothing changed."""
        waiting = [entry[2] for line in self._tenants.values() for entry in line.heap if self._counts(*entry[1:])]
        return sorted(waiting, key=self._rank)

    def _rank(self, prompt: ScheduledPrompt) -> tuple[int, float, bool, float, int]:
        rank = self._fairness.rank(prompt.id)
        return rank.level, rank.tenant_time, prompt.has_begun, rank.prompt_time, rank.arrival

    def _key(self, prompt: ScheduledPrompt) -> _Key:
        rank = self._fairness.rank(prompt.id)
        return _Key(rank.level, prompt.has_begun, rank.prompt_time, rank.arrival)

    def _counts(self, ticket: int, prompt: ScheduledPrompt) -> bool:
        return self._tickets.get(prompt.id) == ticket and prompt.stand in (Stand.WAITING, Stand.SUSPENDED)

    def _compact(self, line: _TenantLine) -> None:
        """Forget entries of the past once they are most of what is kept."""
        most = 64 + 4 * len(self._tickets)
        if len(self._by_time) > most:
            self._by_time = deque(entry for entry in self._by_time if self._counts(*entry))
        if len(line.heap) > most:
            line.heap = [entry for entry in line.heap if self._counts(*entry[1:])]
            heapify(line.heap)

    def _longest_waiting(self) -> ScheduledPrompt | None:
        while self._by_time and not self._counts(*self._by_time[0]):
            self._by_time.popleft()
        return self._by_time[0][1] if self._by_time else None

    def _first(self) -> ScheduledPrompt:
        best: tuple[int, float, ScheduledPrompt] | None = None
        for name, line in list(self._tenants.items()):
            heap = line.heap
            while heap and not self._counts(*heap[0][1:]):
                heappop(heap)
            if not heap:
                del self._tenants[name]
                continue
            key, _, prompt = heap[0]
            candidate = key.level, self._fairness.rank(prompt.id).tenant_time, prompt
            if best is None or candidate[:2] < best[:2]:
                best = candidate
        assert best is not None, "somebody waits, but in no tenant's line"
        return best[2]

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
    """In the order of fairness."""
    by_time: deque[tuple[int, ScheduledPrompt]] = field(default_factory=deque)
    """In the order of waiting."""


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

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, prompt: ScheduledPrompt) -> None:
        """A prompt waits from now on, or again."""
        self._last_ticket += 1
        ticket = self._tickets[prompt.id] = self._last_ticket
        line = self._tenants.setdefault(prompt.tenant, _TenantLine())
        heappush(line.heap, (self._key(prompt), ticket, prompt))
        line.by_time.append((ticket, prompt))
        self._compact(line)

    def put_back(self, prompt: ScheduledPrompt) -> None:
        """One that was taken waits on, since when it did."""
        self._last_ticket += 1
        ticket = self._tickets[prompt.id] = self._last_ticket
        line = self._tenants.setdefault(prompt.tenant, _TenantLine())
        heappush(line.heap, (self._key(prompt), ticket, prompt))
        line.by_time.appendleft((ticket, prompt))

    def discard(self, prompt_id: str) -> None:
        """A prompt waits no longer; unknown ids are ignored."""
        self._tickets.pop(prompt_id, None)

    def take(self, overdue_since_s: float) -> ScheduledPrompt | None:
        """The next one, which then waits no longer. Of a tenant's prompts that have begun, one that waits since before
        `overdue_since_s` goes first."""
        line = self._next_line()
        if line is None:
            return None
        prompt = line.heap[0][2]
        longest = self._longest_waiting(line)
        if prompt.has_begun and longest.since_s < overdue_since_s:
            prompt = longest
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
        if len(line.by_time) > most:
            line.by_time = deque(entry for entry in line.by_time if self._counts(*entry))
        if len(line.heap) > most:
            line.heap = [entry for entry in line.heap if self._counts(*entry[1:])]
            heapify(line.heap)

    def _longest_waiting(self, line: _TenantLine) -> ScheduledPrompt:
        while not self._counts(*line.by_time[0]):
            line.by_time.popleft()
        return line.by_time[0][1]

    def _next_line(self) -> _TenantLine | None:
        """The line of the tenant that is next."""
        best: tuple[int, float] | None = None
        found = None
        for name, line in list(self._tenants.items()):
            heap = line.heap
            while heap and not self._counts(*heap[0][1:]):
                heappop(heap)
            if not heap:
                del self._tenants[name]
                continue
            key, _, prompt = heap[0]
            rank = key.level, self._fairness.rank(prompt.id).tenant_time
            if best is None or rank < best:
                best, found = rank, line
        return found

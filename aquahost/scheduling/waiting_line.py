"""Prompts that can begin or come back, in the order in which fairness wants them."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from aquahost.scheduling.prompt import ScheduledPrompt, Stand
from aquahost.scheduling.virtual_time import VirtualTime


class _Key(NamedTuple):
    """Order among the prompts of one tenant on one level, which does not change while they wait."""

    has_begun: bool
    """New ones first: the time to their first token is what their users feel."""
    virtual_time: float
    arrival: int


@dataclass(slots=True, eq=False)
class _TenantLine:
    heap: list[tuple[_Key, int, ScheduledPrompt]] = field(default_factory=list)
    """In the order of fairness."""
    by_time: list[tuple[float, int, ScheduledPrompt]] = field(default_factory=list)
    """Heap of (since when it waits, ticket, prompt)."""


class WaitingLine:
    """Tenants by virtual time, each tenant's prompts new ones first, then by virtual time.

    Taking the next one costs O(tenants + log prompts). Prompts that ended or began otherwise are left out when they
    come up.
    """

    def __init__(self, fairness: VirtualTime, *, by_level: bool = False) -> None:
        self._by_level = by_level
        self._fairness = fairness
        self._lines: dict[tuple[int, str], _TenantLine] = {}
        self._tickets: dict[str, int] = {}
        """Of each prompt's entry that counts; others are of the past."""
        self._last_ticket = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, prompt: ScheduledPrompt) -> None:
        """A prompt waits since `since_s`, from now on or again."""
        self._last_ticket += 1
        ticket = self._tickets[prompt.id] = self._last_ticket
        line = self._lines.setdefault((prompt.level if self._by_level else 0, prompt.tenant), _TenantLine())
        heappush(line.heap, (self._key(prompt), ticket, prompt))
        heappush(line.by_time, (prompt.since_s, ticket, prompt))
        self._compact(line)

    def discard(self, prompt_id: str) -> None:
        """A prompt waits no longer; unknown ids are ignored."""
        self._tickets.pop(prompt_id, None)

    def take(self, overdue_since_s: float, *, only_new: bool = False) -> ScheduledPrompt | None:
        """The next one, which then waits no longer; with `only_new`, the next that has not begun.

        Of a tenant's prompts that have begun, one that waits since before `overdue_since_s` goes first.
        """
        line = self._next_line(only_new=only_new)
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
        waiting = [entry[2] for line in self._lines.values() for entry in line.heap if self._counts(*entry[1:])]
        return sorted(waiting, key=self._rank)

    def _rank(self, prompt: ScheduledPrompt) -> tuple[int, float, bool, float, int]:
        rank = self._fairness.rank(prompt.id)
        return rank.level, rank.tenant_time, prompt.has_begun, rank.prompt_time, rank.arrival

    def _key(self, prompt: ScheduledPrompt) -> _Key:
        rank = self._fairness.rank(prompt.id)
        return _Key(prompt.has_begun, rank.prompt_time, rank.arrival)

    def _counts(self, ticket: int, prompt: ScheduledPrompt) -> bool:
        return self._tickets.get(prompt.id) == ticket and prompt.stand in (Stand.WAITING, Stand.SUSPENDED)

    def _compact(self, line: _TenantLine) -> None:
        """Forget entries of the past once they are most of what is kept."""
        most = 64 + 4 * len(self._tickets)
        if len(line.by_time) > most:
            line.by_time = [entry for entry in line.by_time if self._counts(*entry[1:])]
            heapify(line.by_time)
        if len(line.heap) > most:
            line.heap = [entry for entry in line.heap if self._counts(*entry[1:])]
            heapify(line.heap)

    def _longest_waiting(self, line: _TenantLine) -> ScheduledPrompt:
        while not self._counts(*line.by_time[0][1:]):
            heappop(line.by_time)
        return line.by_time[0][2]

    def _next_line(self, *, only_new: bool) -> _TenantLine | None:
        """The line of the tenant and level that is next."""
        best: tuple[int, float] | None = None
        found = None
        for name, line in list(self._lines.items()):
            heap = line.heap
            while heap and not self._counts(*heap[0][1:]):
                heappop(heap)
            if not heap:
                del self._lines[name]
                continue
            prompt = heap[0][2]
            if only_new and prompt.has_begun:
                continue
            rank = name[0], self._fairness.rank(prompt.id).tenant_time
            if best is None or rank < best:
                best, found = rank, line
        return found

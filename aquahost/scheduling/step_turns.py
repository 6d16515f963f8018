"""Whose step is next among the prompts of a gated engine, which takes one step of one prompt at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from aquahost.config.settings import Policy
from aquahost.scheduling.virtual_time import Rank, VirtualTime

MOST_PASSES = 2
"""Rounds of all places for which a prompt that has begun lets others of its tenant pass."""
HURRIED = 4
"""So many times as many while one that is nearer its end is hurried there, for a tenant that waits for its place."""
PACE_SHARE = 0.1
"""Weight of the newest step in the mean step time."""


@dataclass(slots=True, eq=False)
class _Live:
    """One live prompt."""

    tenant: str
    level: int
    steps_left: int | None
    last_turn: int = 0
    passed: int = 0
    """Steps of others (under fair: of its tenant) since its own last one, once it has begun."""


class Wait(NamedTuple):
    """A prompt that has not begun."""

    prompt_id: str
    estimate_s: float
    """About when it begins."""


class StepTurns:
    """Which prompt begins next and which takes the next step; pure, over ids and device seconds.

    Prompts begin one after another, at most `max_begun` at a time, and hold their latents from then to their end. One
    that is preempted is merely not given steps, so preemption costs nothing, and a short prompt need not wait for a
    long one.

    - fcfs: they begin as they came; those begun take steps in turn, and let no more than MOST_PASSES rounds of
      newcomers pass.
    - fair: the next step is the tenant's that has had least device time by weight. Of its prompts one that can begin
      does so first, since a first sign of life should come soon; else it is the prompt's that has had least. But one
      that others have passed for MOST_PASSES rounds goes before all of these: a crowd of shorter ones that comes and
      goes must not keep it from its end.
    - priority: as fair, but prompts of a smaller number go before all others.

    No tenant is kept out by another's prompts: a place that comes free is for a tenant that has none before all
    others. While such a one waits for a place, tenants take their steps with the prompt that is nearest its end, so
    that it waits for one prompt's steps and not for `max_begun` prompts'.
    """

    def __init__(self, policy: Policy, max_begun: int) -> None:
        """Raises ValueError if `max_begun` is not at least 1."""
        if max_begun < 1:
            raise ValueError(f"max_begun must be at least 1, not {max_begun}")
        self._policy = policy
        self._max_begun = max_begun
        self._fair = VirtualTime()
        self._live: dict[str, _Live] = {}
        self._waiting: dict[str, _Live] = {}
        self._begun: dict[str, _Live] = {}
        self._places: Counter[str] = Counter()
        """Of each tenant that has any: prompts begun."""
        self._turns = 0
        self._next: str | None = None
        """Who begins next, once chosen: room is being made for it, so the choice must not change with every step."""
        self._step_s: float | None = None

    # -- counts and orders -------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Prompts not yet begun."""
        return len(self._waiting)

    @property
    def begun(self) -> int:
        """Prompts begun and not yet removed."""
        return len(self._begun)

    @property
    def next_to_begin(self) -> str | None:
        """The waiting prompt that begins next; None if there is none, or no more may begin."""
        if len(self._begun) >= self._max_begun:
            return None
        if self._next is None:
            self._next = self._first_waiting()
        return self._next

    def begun_ids(self) -> list[str]:
        """Prompts begun and not yet removed, in order of their beginning."""
        return list(self._begun)

    def service_s(self, prompt_id: str) -> float:
        """Device time that a live prompt has had."""
        return self._fair.service_s(prompt_id)

    def waits(self) -> list[Wait]:
        """Prompts not yet begun, about in the order in which they will begin."""
        left = [live.steps_left for live in self._live.values() if live.steps_left is not None]
        step_s = self._step_s or 0.0
        prompt_s = step_s * sum(left) / len(left) if left else 0.0
        places = self._max_begun - len(self._begun)
        estimates = (step_s * i if i < places else prompt_s * (i - places + 1) for i in range(len(self._waiting)))
        return [Wait(*wait) for wait in zip(self._in_order(), estimates, strict=True)]

    # -- events ------------------------------------------------------------------------------------------------

    def add(
        self, prompt_id: str, tenant: str, *, weight: float = 1.0, priority: int = 0, steps: int | None = None
    ) -> None:
        """A prompt arrives. `steps`: how many it will take, where that is known. Raises ValueError for a bad weight."""
        level = priority if self._policy is Policy.PRIORITY else 0
        self._fair.add(prompt_id, tenant, weight=weight, level=level)
        self._live[prompt_id] = self._waiting[prompt_id] = _Live(tenant, level, steps)
        if self._next is not None and self._class_of(prompt_id) < self._class_of(self._next):
            self._next = None

    def remove(self, prompt_id: str) -> None:
        """A prompt has ended; unknown ids are ignored."""
        live = self._live.pop(prompt_id, None)
        if live is None:
            return
        self._fair.remove(prompt_id)
        if self._begun.pop(prompt_id, None) is not None:
            self._places -= Counter([live.tenant])  # that tenant may have no place now, and so come first
            self._next = None
        if self._waiting.pop(prompt_id, None) is not None and prompt_id == self._next:
            self._next = None

    def take(self, *, begin: bool = True) -> str | None:
        """The prompt to take the next step; None if there is none. `begin`: whether it may be one that has not begun.

        Tell `served` before the next call.
        """
        candidates = list(self._begun)
        upcoming = self.next_to_begin if begin else None
        if upcoming is not None:
            candidates.append(upcoming)
        elif not candidates:
            return None
        hurry = upcoming is None and self._keeps_out()
        chosen = min(candidates, key=lambda prompt_id: self._step_key(prompt_id, hurry=hurry))
        if chosen == upcoming:
            self._begun[chosen] = live = self._waiting.pop(chosen)
            self._places[live.tenant] += 1
            self._next = None
        self._turns += 1
        taken = self._live[chosen]
        for live in self._begun.values():
            live.passed += self._policy is Policy.FCFS or live.tenant == taken.tenant
        taken.last_turn, taken.passed = self._turns, 0
        return chosen

    def served(self, prompt_id: str, service_s: float, steps_left: int | None = None) -> None:
        """A live prompt's step has taken so much of the device."""
        self._fair.serve(prompt_id, service_s)
        self._live[prompt_id].steps_left = steps_left
        before_s = service_s if self._step_s is None else self._step_s
        self._step_s = before_s + PACE_SHARE * (service_s - before_s)

    # -- orders ------------------------------------------------------------------------------------------------

    def _step_key(self, prompt_id: str, *, hurry: bool) -> tuple[float, ...]:
        live = self._live[prompt_id]
        has_begun = prompt_id in self._begun
        rounds = MOST_PASSES * (HURRIED if hurry else 1)
        in_time = live.passed < rounds * self._max_begun
        if self._policy is Policy.FCFS:
            return in_time, has_begun, live.last_turn
        rank = self._fair.rank(prompt_id)
        left = float("inf") if live.steps_left is None else live.steps_left
        return rank.level, rank.tenant_time, in_time, has_begun, left if hurry else 0, rank.prompt_time, rank.arrival

    def _class_of(self, prompt_id: str) -> tuple[int, bool]:
        """What comes before fairness when a place is free: the level, and whether its tenant has a place already."""
        if self._policy is Policy.FCFS:
            return 0, False
        live = self._waiting[prompt_id]
        return live.level, live.tenant in self._places

    def _first_waiting(self) -> str | None:
        if self._policy is Policy.FCFS:
            return next(iter(self._waiting), None)
        return min(self._waiting, key=lambda it: (self._class_of(it), self._fair.rank(it)), default=None)

    def _keeps_out(self) -> bool:
        """Whether one that cannot begin now is more urgent than one that has, or as urgent and of a tenant without."""
        first = self._first_waiting()
        if first is None or self._policy is Policy.FCFS:
            return False
        return self._class_of(first) < (max(live.level for live in self._begun.values()), True)

    def _in_order(self) -> list[str]:
        """Waiting prompts in the order in which they will begin: exact for the first, a guess for the others.

        Tenants take turns, and those that have a place have had one.
        """
        if self._policy is Policy.FCFS:
            return list(self._waiting)
        ranks = {prompt_id: self._fair.rank(prompt_id) for prompt_id in self._waiting}
        rounds: dict[tuple[str, int], int] = {}
        keys: dict[str, tuple[int, int, Rank]] = {}
        for prompt_id in sorted(self._waiting, key=ranks.__getitem__):
            live = self._waiting[prompt_id]
            own = live.tenant, live.level
            rounds[own] = rounds.get(own, int(live.tenant in self._places)) + 1
            keys[prompt_id] = live.level, rounds[own], ranks[prompt_id]
        return sorted(keys, key=keys.__getitem__)

"""How device time is divided among tenants, against how their weights would divide it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aquahost.messages.snapshot import TenantView
from aquahost_tui.store.series import SAMPLE_S, Rate

OVER_S = 30.0
"""The time that "lately" means."""


@dataclass(frozen=True, slots=True)
class Share:
    """One tenant's share of all device time, from 0 to 1."""

    deserved: float
    """By weight, of each model's device time of the last `OVER_S` in which it had live prompts there; while nobody had
    any device time, its weight among those that have live prompts now."""
    had: float
    """Of the last `OVER_S`."""
    since_start: float
    """Since the daemon's start."""

    @property
    def surplus(self) -> float:
        """What it had beyond what it deserved; negative where it had less."""
        return self.had - self.deserved


@dataclass(frozen=True, slots=True)
class ModelWork:
    """What a model has computed, and for whom: weights hold among the tenants of one model."""

    model: str
    busy_s: float
    """Device seconds since it was loaded."""
    tenants: frozenset[str]
    """Those with live prompts."""


@dataclass(slots=True)
class _Account:
    """Device seconds at instants, each (when, had, deserved); and the rate of tokens."""

    marks: deque[tuple[float, float, float]] = field(default_factory=deque)
    tokens: Rate = field(default_factory=Rate)
    deserved_s: float = 0.0
    """Device seconds that weights would have given it since it was first seen."""

    def over(self) -> tuple[float, float]:
        """Device seconds had and deserved, lately."""
        if not self.marks:
            return 0.0, 0.0
        (_, had_then, deserved_then), (_, had_now, deserved_now) = self.marks[0], self.marks[-1]
        return had_now - had_then, deserved_now - deserved_then


class TenantShares:
    """Every tenant's, by name."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._views: Sequence[TenantView] = ()
        self._works: Mapping[str, ModelWork] = {}

    def take(self, views: Sequence[TenantView], at_s: float, works: Sequence[ModelWork] = ()) -> None:
        """The tenants at this instant; without `works`, as if all were served by one model."""
        before = {view.name: view for view in self._views}
        # A prompt's device time is told while it lives or as it ends: who had prompts before is who could be served.
        weights = _live_weights(list(before.values())) or _live_weights(views)
        weights = self._weights_of(views, works) or weights
        served_s = sum(max(view.service_s - before[view.name].service_s, 0.0) for view in views if view.name in before)
        for view in views:
            account = self._accounts.setdefault(view.name, _Account())
            account.deserved_s += served_s * weights.get(view.name, 0.0)
            account.tokens.add(at_s, view.output_tokens)
            _mark(account.marks, at_s, view.service_s, account.deserved_s)
        self._views = views
        self._works = {work.model: work for work in works}

    def tokens_per_s(self, tenant: str) -> float:
        """Output tokens a second of a tenant's prompts."""
        return self._accounts[tenant].tokens.per_s if tenant in self._accounts else 0.0

    def shares(self) -> Mapping[str, Share]:
        """Of each tenant of the newest snapshot."""
        lately = {view.name: self._accounts[view.name].over() for view in self._views}
        served_s = sum(had for had, _ in lately.values())
        total_s = sum(view.service_s for view in self._views)
        weights = _live_weights(self._views)
        found = {}
        for view in self._views:
            had_s, deserved_s = lately[view.name]
            found[view.name] = Share(
                deserved=deserved_s / served_s if served_s > 0 else weights.get(view.name, 0.0),
                had=had_s / served_s if served_s > 0 else 0.0,
                since_start=view.service_s / total_s if total_s > 0 else 0.0,
            )
        return found

    def _weights_of(self, views: Sequence[TenantView], works: Sequence[ModelWork]) -> dict[str, float]:
        """Each tenant's share by weight of what the models have computed since the last snapshot."""
        weight_of = {view.name: view.weight for view in views}
        found: dict[str, float] = {}
        computed_s = 0.0
        for work in works:
            before = self._works.get(work.model)
            served = {name for name in (before or work).tenants if name in weight_of} or (work.tenants & set(weight_of))
            spent_s = work.busy_s - before.busy_s if before is not None else 0.0
            total = sum(weight_of[name] for name in served)
            if spent_s <= 0 or total <= 0:
                continue
            computed_s += spent_s
            for name in served:
                found[name] = found.get(name, 0.0) + spent_s * weight_of[name] / total
        return {name: deserved_s / computed_s for name, deserved_s in found.items()}


def _live_weights(views: Sequence[TenantView]) -> dict[str, float]:
    """Shares by weight of those that have live prompts."""
    live = [view for view in views if view.live]
    total = sum(view.weight for view in live)
    return {view.name: view.weight / total for view in live} if total > 0 else {}


def _mark(marks: deque[tuple[float, float, float]], at_s: float, had_s: float, deserved_s: float) -> None:
    """Add an instant, or move the last one where it is too near to the one before; forget what is too old."""
    if marks and had_s < marks[-1][1]:
        marks.clear()
    if len(marks) >= 2 and at_s - marks[-2][0] < SAMPLE_S:
        marks.pop()
    marks.append((at_s, had_s, deserved_s))
    while len(marks) > 2 and at_s - marks[1][0] >= OVER_S:
        marks.popleft()

"""The one place where what the daemon tells is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from aquahost.events import Event
from aquahost.messages.prompts import PromptState
from aquahost.messages.snapshot import LeaseView, ModelState, Snapshot
from aquahost_tui.store.lease_history import LeaseHistory
from aquahost_tui.store.pair_traffic import PairTraffic
from aquahost_tui.store.plain_words import one_line, plain_event, plain_snapshot
from aquahost_tui.store.series import Rate, Series
from aquahost_tui.store.tenant_shares import ModelWork, TenantShares
from aquahost_tui.store.timelines import Timelines

MOST_EVENTS = 2000
BLIND_S = 1.0
"""After a time without snapshots that is longer than this, nobody knows what became of prompts meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The whole host at one instant."""

    ready: int
    models: int
    running: int
    suspended: int
    waiting: int
    lent_bytes: int
    tokens_per_s: float

    @property
    def prompts(self) -> int:
        """All live ones."""
        return self.running + self.suspended + self.waiting


class Store:
    """The newest snapshot, the last events, and histories made of all snapshots. Times are the feed's own seconds."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.at_s = 0.0
        """When the newest snapshot was taken."""
        self.trouble: str | None = None
        """Why there is no connection; None while there is one."""
        self.ended = False
        """Whether nothing more comes: a recording is over."""
        self._paused = False
        self._was_blind = False
        """Whether there was a time since the newest snapshot in which none could come."""
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self.timelines = Timelines()
        self.leases = LeaseHistory()
        self.tenants = TenantShares()
        self.utilisation: dict[int, Series] = {}
        """Of each GPU, from 0 to 1."""
        self.traffic: dict[int, Series] = {}
        """Of each GPU with others and with the host, both directions, in bytes/s."""
        self.pairs = PairTraffic()
        """Of each two ends of a link."""
        self.tokens = Series()
        """Output tokens a second of all models."""
        self._token_rates: dict[str, Rate] = {}

    def take(self, snapshot: Snapshot, at_s: float) -> None:
        """A new snapshot; one of another daemon than before begins anew."""
        snapshot = plain_snapshot(snapshot)
        if self.snapshot is not None and self.snapshot.run_id != snapshot.run_id:
            self._begin_anew()
        unwatched = self._was_blind and at_s - self.at_s > BLIND_S
        self._was_blind = self._paused
        self.snapshot, self.at_s, self.trouble = snapshot, at_s, None
        self.timelines.take(snapshot.prompts, at_s, unwatched=unwatched)
        self.leases.take(snapshot.leases, at_s)
        self.tenants.take(snapshot.tenants, at_s, _works(snapshot))
        self.pairs.take(snapshot.flows, at_s)
        flows = traffic_of_gpus(snapshot)
        for gpu in snapshot.gpus:
            self.utilisation.setdefault(gpu.index, Series()).add(at_s, gpu.utilisation or 0.0)
            self.traffic.setdefault(gpu.index, Series()).add(at_s, flows.get(gpu.index, 0.0))
        for model in snapshot.models:
            rate = self._token_rates.setdefault(model.name, Rate())
            rate.add(at_s, model.stats.output_tokens if model.stats else 0)
        self.tokens.add(at_s, self.tokens_per_s())

    def note(self, event: Event) -> None:
        """A new event; one that is known already, after a reconnection, is left out."""
        if not self.events or event.seq > self.events[-1].seq:
            self.events.append(plain_event(event))

    def lose(self, trouble: str) -> None:
        """There is no connection; what was known stays, as what it was."""
        self.trouble = one_line(trouble)
        self._was_blind = True

    @property
    def paused(self) -> bool:
        """Whether snapshots are held back."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        self._was_blind = True

    @property
    def last_seq(self) -> int:
        """Number of the newest event that is known."""
        return self.events[-1].seq if self.events else 0

    def tokens_per_s(self, model: str | None = None) -> float:
        """Output tokens a second of a model, or of all."""
        if model is not None:
            return self._token_rates[model].per_s if model in self._token_rates else 0.0
        return sum(rate.per_s for rate in self._token_rates.values())

    def totals(self) -> Totals:
        """Sums of the newest snapshot; all 0 before the first."""
        snapshot = self.snapshot
        models = snapshot.models if snapshot else []
        states = [prompt.state for prompt in snapshot.prompts] if snapshot else []
        waiting, suspended = states.count(PromptState.WAITING), states.count(PromptState.SUSPENDED)
        return Totals(
            ready=sum(model.state is ModelState.READY for model in models),
            models=len(models),
            running=len(states) - waiting - suspended,
            suspended=suspended,
            waiting=waiting,
            lent_bytes=sum(lease.nbytes for lease in snapshot.leases) if snapshot else 0,
            tokens_per_s=self.tokens_per_s(),
        )

    def _begin_anew(self) -> None:
        self.timelines, self.leases, self.tenants = Timelines(), LeaseHistory(), TenantShares()
        self.utilisation, self.traffic, self._token_rates = {}, {}, {}
        self.tokens, self.pairs = Series(), PairTraffic()
        self.events.clear()


def _works(snapshot: Snapshot) -> list[ModelWork]:
    """What each model has computed, and for whom."""
    tenants: dict[str, set[str]] = {}
    for prompt in snapshot.prompts:
        tenants.setdefault(prompt.model, set()).add(prompt.tenant)
    return [
        ModelWork(model.name, model.stats.busy_s, frozenset(tenants.get(model.name, ())))
        for model in snapshot.models
        if model.stats is not None
    ]


def traffic_of_gpus(snapshot: Snapshot) -> Mapping[int, float]:
    """Bytes a second that each GPU sends and receives, host memory included."""
    flows: dict[int, float] = {}
    for flow in snapshot.flows:
        for end in {flow.source, flow.target}:
            flows[end] = flows.get(end, 0.0) + flow.bytes_per_s
    return flows


def leases_between(snapshot: Snapshot) -> Mapping[tuple[int, int], list[LeaseView]]:
    """Leases by (donor GPU, borrower's GPU)."""
    found: dict[tuple[int, int], list[LeaseView]] = {}
    for lease in snapshot.leases:
        found.setdefault((lease.donor, lease.borrower_gpu), []).append(lease)
    return found


def flow_between(snapshot: Snapshot, one: int, other: int) -> float:
    """Bytes a second between two GPUs, both directions together."""
    ends = {one, other}
    return sum(flow.bytes_per_s for flow in snapshot.flows if {flow.source, flow.target} == ends)

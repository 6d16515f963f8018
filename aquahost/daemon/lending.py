"""The broker's shell: workers' words, GPU readings and links go in; messages, kills and events come out."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from aquahost.clock import Clock
from aquahost.config.settings import LeasingSettings
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_watch import GpuReading
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.recall_times import RecallTimes
from aquahost.events import EventKind
from aquahost.leasing import events, instructions
from aquahost.leasing.broker import Broker
from aquahost.leasing.limits import LeasingLimits
from aquahost.leasing.words import event_of, message_of
from aquahost.messages import memory
from aquahost.messages.figures import LendingFigures, Lent
from aquahost.messages.snapshot import LeaseState, LeaseView, LinkView
from aquahost.messages.wire import EngineStats, Paged, ToWorker

logger = logging.getLogger(__name__)

HOST = -1
_READINGS = 3
"""Workers report what they hold a few times a second, GPUs are read once: what is seen of others in one reading alone
is a difference in time."""
_MOST_REASON = 300
"""Characters of what a worker says that are passed on."""


class _Others:
    """What is in use of a GPU by whatever is no worker of ours: strangers, and contexts, workers' own among them.

    While workers load or compute they may hold less than they have claimed, which would hide the rest; so what was seen
    while all were at rest stands, unless more is seen.
    """

    def __init__(self) -> None:
        self._resting: deque[int] = deque([0], maxlen=_READINGS)
        self._working: deque[int] = deque([0], maxlen=_READINGS)

    @property
    def nbytes(self) -> int:
        """The estimate."""
        return max(min(self._resting), min(self._working))

    def see(self, nbytes: int, *, at_rest: bool) -> None:
        """One reading's remainder."""
        if at_rest:
            self._resting.append(max(0, nbytes))
            self._working = deque([0], maxlen=_READINGS)
        else:
            self._working.append(max(0, nbytes))


class Lending:
    """Owns the broker. All methods are called in the event loop's thread and return at once.

    Nothing is lent before `found` has told of links; with `settings.enabled` false nobody asks for anything.
    """

    def __init__(
        self,
        settings: LeasingSettings,
        *,
        send: Callable[[int, ToWorker], bool],
        kill: Callable[[int, str], None],
        log: EventLog,
        clock: Clock,
    ) -> None:
        """`kill` ends a worker, with the reason as the end of a sentence."""
        self._broker = Broker(
            LeasingLimits(
                headroom_bytes=settings.headroom_bytes,
                recall_deadline_s=settings.recall_deadline_s,
                cooldown_s=settings.cooldown_s,
            )
        )
        self._send = send
        self._kill = kill
        self._log = log
        self._clock = clock
        self.faults: list[str] = []
        """Of the ledger: anything here means that the daemon must be restarted."""
        self._links: list[LinkView] = []
        self._others: dict[int, _Others] = {}
        self._recalls = RecallTimes()
        self._paged_before: Counter[tuple[str, str]] = Counter()

    # -- what happens ------------------------------------------------------------------------------------------

    def found(self, links: Sequence[LinkView]) -> None:
        """These are the links; each pair of GPUs that cannot lend to each other is announced."""
        self._links = list(links)
        refused = {(min(one.source, one.target), max(one.source, one.target)): one for one in links if not one.usable}
        for (low, high), link in sorted(refused.items()):
            if low != HOST:
                message = f"GPU {low} and GPU {high} do not lend to each other: {link.reason}"
                self._log.add(EventKind.LINK_REFUSED, message)
        rates = {(one.source, one.target): one.bytes_per_s for one in links if one.usable}
        between = {pair: rate for pair, rate in rates.items() if HOST not in pair}
        to_host = {source: rate for (source, target), rate in rates.items() if target == HOST}
        self._tell(events.LinksFound(between, to_host))

    def joined(self, worker_id: int, name: str, gpu: int) -> None:
        """A worker is about to begin on a GPU."""
        self._tell(events.WorkerJoined(worker_id, name, gpu))

    def left(self, worker_id: int, stats: EngineStats | None) -> None:
        """A worker's process is gone; `stats` are its last."""
        for one in stats.paged if stats is not None else ():
            self._paged_before[one.source, one.target] += one.nbytes
        self._tell(events.WorkerLeft(worker_id))

    def on_report(self, worker_id: int, report: memory.MemoryReport) -> None:
        """A worker says something about memory."""
        event = event_of(worker_id, report)
        if isinstance(event, events.LeaseFailed):
            event = replace(event, reason=" ".join(event.reason.split())[:_MOST_REASON])
        self._tell(event)

    def on_stats(self, model: HostedModel, stats: EngineStats) -> None:
        """A worker reports its figures, which the model does not show yet."""
        before = model.stats.parked if model.stats is not None else ""
        if stats.parked and stats.parked != before:
            where = "in host memory" if stats.parked == "host" else f"on {stats.parked}"
            self._log.add(EventKind.MODEL_PARKED, f"{model.name} is parked {where}", model=model.name)
        elif before and not stats.parked:
            self._log.add(EventKind.MODEL_WOKEN, f"{model.name} is awake", model=model.name)

    def on_readings(self, readings: Iterable[GpuReading], models: Iterable[HostedModel]) -> None:
        """The GPUs have been read."""
        living: dict[int, list[HostedModel]] = {}
        for model in models:
            if model.gpu is not None and model.worker_id is not None:
                living.setdefault(model.gpu, []).append(model)
        for reading in readings:
            if reading.lost is not None:
                self._tell(events.GpuLost(reading.index, reading.lost))
                continue
            workers = living.get(reading.index, [])
            ours_bytes = self.lent_bytes(reading.index, mapped=True)
            ours_bytes += sum(self.held_bytes(model) for model in workers)
            at_rest = all(model.stats is not None and not model.stats.work_bytes for model in workers)
            others = self._others.setdefault(reading.index, _Others())
            others.see(reading.total_bytes - reading.free_bytes - ours_bytes, at_rest=at_rest)
            self._tell(events.GpuRead(reading.index, reading.total_bytes, others.nbytes))
        self._prove()

    def tick(self) -> None:
        """Time has passed."""
        if self._broker.is_waiting:
            self._tell(events.TimePassed())

    # -- what there is -----------------------------------------------------------------------------------------

    def lent_bytes(self, gpu: int, *, mapped: bool = False) -> int:
        """What is lent of a GPU; with `mapped`, what borrowers have taken of it."""
        leases = self._broker.ledger.gpu(gpu).leases.values()
        return sum(lease.nbytes for lease in leases if lease.is_mapped or not mapped)

    def other_bytes(self, gpu: int) -> int:
        """What is in use of a GPU by whatever is no worker of ours."""
        others = self._others.get(gpu)
        return others.nbytes if others is not None else 0

    def lost(self, gpu: int) -> str | None:
        """Why a GPU is used no more, though it may answer again."""
        return self._broker.ledger.gpu(gpu).lost

    def held_bytes(self, model: HostedModel) -> int:
        """What a model's worker takes of its own GPU: as it says, or what it may while it says nothing yet."""
        if model.stats is not None:
            return model.stats.weights_bytes + model.stats.kv_bytes + model.stats.work_bytes
        if model.gpu is None or model.worker_id is None:
            return 0
        return self._broker.ledger.gpu(model.gpu).claims.get(model.worker_id, 0)

    def borrowed_bytes(self, gpu: int) -> int:
        """What models of a GPU have borrowed from others."""
        ledger = self._broker.ledger
        return sum(one.nbytes for one in ledger.leases.values() if ledger.workers[one.borrower].gpu == gpu)

    def leases(self) -> list[LeaseView]:
        """Every lease, by id."""
        now_s, workers = self._clock.now_s(), self._broker.ledger.workers
        return [
            LeaseView(
                id=lease.id,
                donor=lease.donor,
                borrower=workers[lease.borrower].name,
                borrower_gpu=workers[lease.borrower].gpu,
                nbytes=lease.nbytes,
                recalled_bytes=lease.recalled_bytes,
                state=lease.state,
                age_s=now_s - lease.granted_s,
                deadline_in_s=None if lease.deadline_s is None else lease.deadline_s - now_s,
            )
            for lease in sorted(self._broker.ledger.leases.values(), key=lambda lease: lease.id)
        ]

    def links(self) -> list[LinkView]:
        """As they were found."""
        return list(self._links)

    def figures(self, models: Iterable[HostedModel]) -> LendingFigures:
        """What lending has come to."""
        lent: Counter[tuple[int, str]] = Counter()
        for lease in self.leases():
            if lease.state is not LeaseState.LOST:
                lent[lease.donor, lease.borrower] += lease.nbytes
        paged = self._paged_before.copy()
        for model in models:
            for one in model.stats.paged if model.stats is not None else ():
                paged[one.source, one.target] += one.nbytes
        return LendingFigures(
            lent=[Lent(donor, borrower, nbytes) for (donor, borrower), nbytes in sorted(lent.items())],
            paged=[Paged(source, target, nbytes) for (source, target), nbytes in sorted(paged.items())],
            recall_buckets=self._recalls.buckets(),
            recall_sum_s=self._recalls.sum_s,
            recall_count=self._recalls.count,
        )

    def check(self) -> None:
        """Raise AssertionError unless owned + lent + other + free = capacity on every GPU."""
        self._broker.ledger.check()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        try:
            self.check()
        except AssertionError as error:
            if not self.faults:
                logger.critical("the memory ledger is wrong: %s", error)
                self.faults.append("the daemon's memory ledger is wrong; restart the daemon")

    def _tell(self, event: events.BrokerEvent) -> None:
        now_s = self._clock.now_s()
        for said in self._broker.handle(event, now_s):
            self._carry_out(said, now_s)
        self._recalls.look(self._broker.ledger.leases, now_s)

    def _carry_out(self, said: instructions.Instruction, now_s: float) -> None:
        match said:
            case instructions.RecallLease(lease_id=lease_id):
                self._recalls.begin(lease_id, now_s)
                self._send(said.worker, message_of(said))
            case instructions.KillWorker(worker, reason):
                self._kill(worker, reason)
            case instructions.Announce(kind, message, model):
                self._log.add(kind, message, model=model)
            case _:
                self._send(said.worker, message_of(said))

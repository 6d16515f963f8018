"""The broker's shell on virtual time: what daemon.lending is to real workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from aquahost.config.settings import LeasingSettings
from aquahost.events import EventKind
from aquahost.leasing import events, instructions
from aquahost.leasing.broker import Broker
from aquahost.leasing.ledger import Ledger
from aquahost.leasing.limits import LeasingLimits
from aquahost.leasing.words import event_of, message_of
from aquahost.messages import memory
from aquahost.simulator.agenda import Agenda
from aquahost.simulator.links import HOST, Links

MESSAGE_S = 0.001
"""From a worker to the daemon, or back: a process wakes up, decodes, and is between two steps."""
TICK_S = 0.25
"""How often deadlines are looked at."""

Announce = Callable[[EventKind, str, str | None], None]


class Coordinator(Protocol):
    """Decides who lends: the broker, or a peer's way of doing it."""

    @property
    def ledger(self) -> Ledger:
        """Who has what."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether time alone can change anything."""
        ...

    def handle(self, event: events.BrokerEvent, now_s: float) -> list[instructions.Instruction]:
        """Take in what happened; returns what is to be done."""
        ...


class Borrower(Protocol):
    """A worker as the broker's messages reach it."""

    def on_memory(self, message: memory.MemoryInstruction) -> None:
        """The broker's word."""
        ...

    def on_killed(self, reason: str) -> None:
        """Its process was ended."""
        ...


def make_broker(settings: LeasingSettings) -> Broker:
    """The daemon's broker."""
    return Broker(
        LeasingLimits(
            headroom_bytes=settings.headroom_bytes,
            recall_deadline_s=settings.recall_deadline_s,
            cooldown_s=settings.cooldown_s,
        )
    )


class SimLending:
    """Owns a coordinator; carries messages between it and workers, each a moment later."""

    def __init__(
        self, coordinator: Coordinator, agenda: Agenda, links: Links, gpu_bytes: Sequence[int], announce: Announce
    ) -> None:
        self.coordinator = coordinator
        self._agenda = agenda
        self._announce = announce
        self._workers: dict[int, Borrower] = {}
        self._delay_s = 0.0
        """Nothing while the node starts."""
        self._is_ticking = False
        gpus = range(len(gpu_bytes))
        rates = {(one, other): links.rate(one, other) for one in gpus for other in gpus if one != other}
        self.tell(events.LinksFound(rates, {gpu: links.rate(gpu, HOST) for gpu in gpus}))
        for gpu, nbytes in enumerate(gpu_bytes):
            self.tell(events.GpuRead(gpu, nbytes, 0))

    def started(self) -> None:
        """From now on messages take their time."""
        self._delay_s = MESSAGE_S

    def join(self, worker_id: int, name: str, gpu: int, worker: Borrower) -> None:
        """A worker begins."""
        self._workers[worker_id] = worker
        self.tell(events.WorkerJoined(worker_id, name, gpu))

    def report(self, worker_id: int, reports: Sequence[memory.MemoryReport]) -> None:
        """A worker says something."""
        if not reports:
            return
        if self._delay_s:
            self._agenda.after(self._delay_s, partial(self._hear, worker_id, list(reports)))
        else:
            self._hear(worker_id, reports)

    def tell(self, event: events.BrokerEvent) -> None:
        """Something happened."""
        for said in self.coordinator.handle(event, self._agenda.now_s()):
            self._carry_out(said)
        if self.coordinator.is_waiting and not self._is_ticking:
            self._is_ticking = True
            self._agenda.after(TICK_S, self._tick)

    def _tick(self) -> None:
        self._is_ticking = False
        self.tell(events.TimePassed())

    def _hear(self, worker_id: int, reports: Sequence[memory.MemoryReport]) -> None:
        for report in reports:
            self.tell(event_of(worker_id, report))

    def _carry_out(self, said: instructions.Instruction) -> None:
        match said:
            case instructions.KillWorker(worker, reason):
                self._agenda.after(0.0, partial(self._workers[worker].on_killed, reason))
            case instructions.Announce(kind, message, model):
                self._announce(kind, message, model)
            case _:
                self._send(said.worker, message_of(said))

    def _send(self, worker_id: int, message: memory.MemoryInstruction) -> None:
        worker = self._workers[worker_id]
        if self._delay_s:
            self._agenda.after(self._delay_s, partial(worker.on_memory, message))
        else:
            worker.on_memory(message)

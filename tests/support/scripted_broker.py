"""The broker's side of a memory desk, as a test scripts it: settles what fits, and sends what it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from aquahost.clock import Clock, VirtualClock
from aquahost.config.settings import LeasingSettings
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.memory import Claim, ClaimRefused, ClaimSettled, MemoryInstruction, MemoryReport


class Worker(Protocol):
    """An engine, or a part of one that listens."""

    def on_memory(self, message: MemoryInstruction) -> Any: ...


@dataclass
class ScriptedBroker:
    """Gives claims up to `limit_bytes`, at once unless it `hesitates`; grants nothing by itself."""

    limit_bytes: int = 1 << 40
    hesitates: bool = False
    heard: list[MemoryReport] = field(default_factory=list)
    clock: Clock = field(default_factory=VirtualClock)
    claimed_bytes: int = 0
    """The claim that stands: the last that was not refused."""

    def desk(self, **settings: Any) -> MemoryDesk:
        """A desk whose other side this is."""
        return MemoryDesk(LeasingSettings(**settings), self.clock, exchange=self.answer)

    def answer(self, reports: list[MemoryReport]) -> list[MemoryInstruction]:
        """What to say to these reports."""
        self.heard += reports
        return [] if self.hesitates else [self._verdict(one.nbytes) for one in reports if isinstance(one, Claim)]

    def serve(self, desk: MemoryDesk, worker: Worker) -> None:
        """Hear what the worker has to say, and answer."""
        for message in self.answer(desk.take_reports()):
            if not desk.on_memory(message):
                worker.on_memory(message)

    def settle(self, desk: MemoryDesk) -> None:
        """Answer the last claim after all."""
        self.heard += desk.take_reports()
        desk.on_memory(self._verdict(self.heard_of(Claim)[-1].nbytes))

    def heard_of(self, kind: type) -> list[Any]:
        """All reports of one kind."""
        return [one for one in self.heard if isinstance(one, kind)]

    def _verdict(self, nbytes: int) -> ClaimSettled | ClaimRefused:
        if nbytes > self.limit_bytes:
            return ClaimRefused(nbytes, self.limit_bytes)
        self.claimed_bytes = nbytes
        return ClaimSettled(nbytes)

"""A scripted broker that also grants, recalls and loses leases on a test's command."""

from __future__ import annotations

import itertools

from aquahost.clock import VirtualClock
from aquahost.engines.engine import Engine
from aquahost.engines.memory_desk import Part
from aquahost.messages.memory import Claim, LeaseGranted, LeaseLost, LeaseRecalled, LeaseReturned
from scripted_broker import ScriptedBroker


class ScriptedLender:
    """One worker's broker: `pump` hears it and answers its claims; leases come and go by the other methods."""

    def __init__(self, clock: VirtualClock | None = None, **settings: object) -> None:
        self.clock = clock or VirtualClock()
        self.broker = ScriptedBroker(clock=self.clock)
        self.desk = self.broker.desk(**{"linger_s": 1.0, **settings})
        self._ids = itertools.count(1)

    def pump(self, engine: Engine) -> None:
        """Hear what the engine has to report, and answer what was owed before too."""
        answers = self.broker.answer(engine.memory_reports())
        if not answers and not self.broker.hesitates and not self.desk.is_settled:
            answers = self.broker.answer([Claim(sum(self.desk.wanted(part) for part in Part))])
        for message in answers:
            engine.on_memory(message)

    def grant(self, engine: Engine, donor: int, nbytes: int, *, bytes_per_s: float = 0.0) -> int:
        """Grant a lease over a link of that rate; returns its id."""
        lease_id = next(self._ids)
        engine.on_memory(LeaseGranted(lease_id, donor, nbytes, bytes_per_s))
        return lease_id

    def recall(self, engine: Engine, lease_id: int, keep_bytes: int = 0) -> None:
        """Want a lease back."""
        engine.on_memory(LeaseRecalled(lease_id, keep_bytes, deadline_s=self.clock.now_s() + 1))

    def lose(self, engine: Engine, lease_id: int) -> None:
        """Say that a lease's memory is gone."""
        engine.on_memory(LeaseLost(lease_id, "lost in a test"))

    def returned_bytes(self, lease_id: int) -> int:
        """What has come back of a lease."""
        returned = self.broker.heard_of(LeaseReturned)
        return sum(report.nbytes for report in returned if report.lease_id == lease_id)

"""Where an engine and the broker meet: claims on the engine's own GPU, and all that is to be reported."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

from aquahost.clock import Clock
from aquahost.config.settings import LeasingSettings
from aquahost.errors import LoadError
from aquahost.messages.memory import Claim, ClaimRefused, ClaimSettled, MemoryInstruction, MemoryReport
from aquahost.units import format_bytes

Exchange = Callable[[list[MemoryReport]], list[MemoryInstruction]]
"""Sends reports to the broker and returns what it has said meanwhile, waiting a moment for it."""
_MORE_THAN_ANY_GPU_BYTES = 1 << 60


class Part(StrEnum):
    """What a worker holds memory of its own GPU for."""

    WEIGHTS = "weights"
    KV = "kv"
    WORK = "work"
    """Activations, beside weights and KV."""


class MemoryDesk:
    """One worker's claim and its outgoing reports. Does no I/O; belongs to the thread of the engine.

    The claim has parts, which the broker knows only as a sum. A part that grows may be used once the sum is settled;
    one that shrinks is given up by its owner first. Without a broker (leasing disabled, tests, benchmarks) every claim
    is settled as soon as it is made.
    """

    def __init__(self, settings: LeasingSettings, clock: Clock, *, exchange: Exchange | None = None) -> None:
        """`exchange` talks to the broker while a load has to wait for a claim; None is no broker."""
        self.settings = settings
        self.clock = clock
        self.refused: ClaimRefused | None = None
        """The broker's answer, if it refused what was claimed last: all parts are then what they were before."""
        self.early: list[MemoryInstruction] = []
        """What the broker said of leases while a claim was waited for; for the engine to take."""
        self._exchange = exchange
        self._wanted = dict.fromkeys(Part, 0)
        self._settled = dict.fromkeys(Part, 0)
        self._reports: list[MemoryReport] = []
        self._unanswered: deque[int] = deque()
        """Sums that were claimed, oldest first."""
        self._in_force = 0
        """The sum that was settled last: what the broker counts as ours."""

    @property
    def has_broker(self) -> bool:
        """Whether anyone lends."""
        return self._exchange is not None

    @property
    def is_settled(self) -> bool:
        """Whether all that was claimed may be held."""
        return self._wanted == self._settled

    def settled(self, part: Part) -> int:
        """Bytes that may be held for this."""
        return self._settled[part]

    def wanted(self, part: Part) -> int:
        """Bytes claimed for this, settled or not."""
        return self._wanted[part]

    def claim(self, part: Part, nbytes: int) -> bool:
        """Want to hold `nbytes` for this; returns whether they may be held at once, as less always may."""
        if nbytes != self._wanted[part]:
            self._wanted[part] = nbytes
            self.refused = None
            if self._exchange is not None:
                self._claim_sum()
        if self._exchange is None or nbytes < self._settled[part]:
            self._settled[part] = nbytes
        return self._settled[part] == nbytes

    def require(self, part: Part, nbytes: int, what: str) -> None:
        """Claim and wait until it is settled; `what` is named, like "the weights of chat".

        Raises LoadError if the GPU cannot give that much.
        """
        self.claim(part, nbytes)
        while not self.is_settled:
            assert self._exchange is not None
            for message in self._exchange(self.take_reports()):
                if not self.on_memory(message):
                    self.early.append(message)
            if self.refused is not None:
                raise LoadError(
                    f"{what} would bring the model to {format_bytes(self.refused.nbytes)} of its GPU; at most "
                    f"{format_bytes(self.refused.available_bytes)} can be had there"
                )

    def most_bytes(self) -> int:
        """The most that a part could still grow by, with everything recalled that is lent of the GPU. Waits for the
        broker's word; only with a broker, and while everything claimed is settled."""
        before = sum(self._settled.values())
        try:
            self.require(Part.WORK, _MORE_THAN_ANY_GPU_BYTES, "everything")
        except LoadError:
            assert self.refused is not None
            return max(0, self.refused.available_bytes - before)
        raise AssertionError("the broker promised more memory than any GPU has")

    def on_memory(self, message: MemoryInstruction) -> bool:
        """Take in the broker's answer to a claim; False for a message about something else."""
        if not isinstance(message, ClaimSettled | ClaimRefused):
            return False
        if message.nbytes not in self._unanswered:
            return True
        while self._unanswered.popleft() != message.nbytes:
            pass
        if isinstance(message, ClaimSettled):
            self._in_force = message.nbytes
        if self._unanswered:
            return True  # it answers a claim that has changed since, though perhaps back to the same sum
        if isinstance(message, ClaimSettled):
            self._settled = dict(self._wanted)
        else:
            self._wanted = dict(self._settled)
            self.refused = message
            if sum(self._wanted.values()) < self._in_force:  # a part shrank while another's growth was waited for
                self._claim_sum()
        return True

    def report(self, report: MemoryReport) -> None:
        """Have the broker told."""
        self._reports.append(report)

    def _claim_sum(self) -> None:
        nbytes = sum(self._wanted.values())
        self._unanswered.append(nbytes)
        self.report(Claim(nbytes))

    def take_reports(self) -> list[MemoryReport]:
        """What is to be sent, once."""
        reports, self._reports = self._reports, []
        return reports

"""The node's links: how fast each carries what, and copies that share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from aquahost.config.settings import EmulatedSettings
from aquahost.profiles.data_sheets import Node
from aquahost.simulator.agenda import Agenda, Entry

HOST = -1
ACHIEVABLE = 0.8
"""Of what data sheets print: pieces of 2 MiB were measured at 50 of PCIe 5's 64 GB/s on an H100."""


ROUNDING_S = 1e-9
"""Bytes that a flow carries in this time are rounding; a clock of days is exact to a tenth of it."""


class Way(NamedTuple):
    """One direction of something that all copies through it share."""

    kind: str
    source: int
    target: int


class Wiring(Protocol):
    """How GPUs reach each other's memory and the host's."""

    def ways(self, source: int, target: int) -> Mapping[Way, float]:
        """What a copy goes through, each with its bytes per second."""
        ...

    def latency_s(self, source: int, target: int) -> float:
        """Before its first byte."""
        ...


@dataclass(frozen=True, slots=True)
class Switched:
    """Every GPU has one port to a switch (NVSwitch), which all its copies to and from others share, and a PCIe link of
    its own to host memory."""

    node: Node

    def ways(self, source: int, target: int) -> Mapping[Way, float]:
        """Out of one port and into another."""
        sheet = self.node.sheet
        if HOST in (source, target):
            return {Way("pcie", source, target): ACHIEVABLE * sheet.pcie_bytes_per_s}
        rate = ACHIEVABLE * sheet.nvlink_bytes_per_s
        return {Way("out", source, 0): rate, Way("in", 0, target): rate}

    def latency_s(self, source: int, target: int) -> float:
        """By the data sheet."""
        sheet = self.node.sheet
        return sheet.pcie_latency_s if HOST in (source, target) else sheet.nvlink_latency_s


@dataclass(frozen=True, slots=True)
class Paired:
    """The emulated driver's node: a link of its own for each pair of GPUs, and one for each GPU to host memory."""

    settings: EmulatedSettings

    def ways(self, source: int, target: int) -> Mapping[Way, float]:
        """One link."""
        to_host = HOST in (source, target)
        rate = self.settings.host_bytes_per_s if to_host else self.settings.peer_bytes_per_s
        return {Way("link", source, target): rate}

    def latency_s(self, source: int, target: int) -> float:
        """By the settings."""
        return self.settings.host_latency_s if HOST in (source, target) else self.settings.peer_latency_s


class Part(NamedTuple):
    """Bytes from one place to another."""

    source: int
    target: int
    nbytes: int


@dataclass(slots=True, eq=False)
class _Flow:
    part: Part
    left_bytes: float
    ways: Mapping[Way, float]
    arrived: Callable[[], None]
    rate: float = 0.0


class Links:
    """Owns the copies under way. Those that go the same way share it evenly; each is as fast as its narrowest share."""

    def __init__(self, agenda: Agenda, wiring: Wiring) -> None:
        self._agenda = agenda
        self.wiring = wiring
        self._flows: list[_Flow] = []
        self._crowd: Counter[Way] = Counter()
        self._seen_s = 0.0
        self._next: Entry | None = None
        self.moved: Counter[tuple[int, int]] = Counter()
        """Bytes that have arrived or were read in place, by source and target."""

    def now_s(self) -> float:
        """The present."""
        return self._agenda.now_s()

    def rate(self, source: int, target: int) -> float:
        """Bytes per second of one copy that is alone."""
        return min(self.wiring.ways(source, target).values())

    def copy(self, parts: list[Part], arrived: Callable[[], None]) -> None:
        """Start copies at once; `arrived` is called when the last of them has arrived, or right away for none."""
        nbytes: Counter[tuple[int, int]] = Counter()
        for part in parts:
            nbytes[part.source, part.target] += part.nbytes
        nbytes = +nbytes
        left = len(nbytes)
        if not left:
            self._agenda.after(0.0, arrived)
            return

        def one_arrived() -> None:
            nonlocal left
            left -= 1
            if not left:
                arrived()

        for (source, target), total in nbytes.items():
            flow = _Flow(Part(source, target, total), total, self.wiring.ways(source, target), one_arrived)
            self._agenda.after(self.wiring.latency_s(source, target), partial(self._begin, flow))

    def moved_so_far(self) -> Counter[tuple[int, int]]:
        """As `moved`, with what has arrived of copies that are under way."""
        passed_s, moved = self._agenda.now_s() - self._seen_s, self.moved.copy()
        for flow in self._flows:
            part = flow.part
            moved[part.source, part.target] += max(0, part.nbytes - round(flow.left_bytes - flow.rate * passed_s))
        return moved

    def _begin(self, flow: _Flow) -> None:
        self._progress()
        self._flows.append(flow)
        self._crowd.update(flow.ways.keys())
        self._schedule()

    def _progress(self) -> None:
        now_s = self._agenda.now_s()
        passed_s, self._seen_s = now_s - self._seen_s, now_s
        for flow in self._flows:
            flow.left_bytes -= flow.rate * passed_s

    def _schedule(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if not self._flows:
            return
        crowd = self._crowd
        for flow in self._flows:
            flow.rate = min([rate / crowd[way] for way, rate in flow.ways.items()])
        soonest_s = min([flow.left_bytes / flow.rate for flow in self._flows])
        self._next = self._agenda.after(max(0.0, soonest_s), self._arrive)

    def _arrive(self) -> None:
        self._next = None
        self._progress()
        # What is left by rounding: the later it is, the coarser is the clock.
        done = [flow for flow in self._flows if flow.left_bytes < max(1.0, ROUNDING_S * flow.rate)]
        self._flows = [flow for flow in self._flows if flow not in done]
        for flow in done:
            self._crowd.subtract(flow.ways.keys())
            self.moved[flow.part.source, flow.part.target] += flow.part.nbytes
        self._schedule()
        for flow in done:
            flow.arrived()

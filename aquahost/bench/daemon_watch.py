"""What the daemon itself says of its slices and its tenants while a trace is replayed."""

from __future__ import annotations

import statistics
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from aquahost.client import Client
from aquahost.errors import RequestError
from aquahost.messages.snapshot import ModelView, Snapshot

_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Slices:
    """Over a replay, while prompts had to give way to others."""

    median_s: float
    gap_bound_s: float
    """The largest of 2 × (live prompts ÷ running prompts) × slice: what no gap in a stream should exceed."""


class DaemonWatch:
    """Looks at a daemon's snapshot ten times a second. A context manager: it looks while inside."""

    def __init__(self, socket: Path, *, places: int | None = None) -> None:
        """`places`: more live prompts than that are more than a tenant's share of the batch has room for."""
        self._places = places
        self._client = Client(socket)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._slices_s: list[float] = []
        self._bounds_s: list[float] = []
        self._served_s: dict[str, float] = {}
        """By prompt, as last reported."""
        self._shared_s: dict[str, float] = defaultdict(float)

    def __enter__(self) -> DaemonWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def slices(self) -> Slices | None:
        """What was seen of slices; None if nobody ever had to give way."""
        if not self._slices_s:
            return None
        return Slices(statistics.median(self._slices_s), max(self._bounds_s))

    def shares(self) -> dict[str, float]:
        """Each tenant's share of the device time while all had more prompts than places; empty if that was never so."""
        total_s = sum(self._shared_s.values())
        return {tenant: had_s / total_s for tenant, had_s in self._shared_s.items()} if total_s else {}

    def _look(self) -> None:
        while not self._over.wait(_PERIOD_S):
            try:
                snapshot = self._client.snapshot()
            except RequestError:
                continue
            for model in snapshot.models:
                self._note_slice(model)
            self._note_service(snapshot)

    def _note_slice(self, model: ModelView) -> None:
        stats = model.stats
        if stats is None or not (stats.slice_s and stats.running):
            return
        live = stats.running + stats.waiting + stats.suspended
        if live > stats.running:
            self._slices_s.append(stats.slice_s)
            self._bounds_s.append(2 * live / stats.running * stats.slice_s)

    def _note_service(self, snapshot: Snapshot) -> None:
        served_s = {prompt.id: prompt.service_s for prompt in snapshot.prompts}
        if served_s == self._served_s:
            return  # no new report
        live = Counter(prompt.tenant for prompt in snapshot.prompts)
        if self._places is not None and len(live) > 1 and min(live.values()) > self._places:
            for prompt in snapshot.prompts:
                self._shared_s[prompt.tenant] += prompt.service_s - self._served_s.get(prompt.id, 0.0)
        self._served_s = served_s

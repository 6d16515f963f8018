"""The GPUs' memory, read in a thread now and then, and the choice of a GPU for a model."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aquahost.daemon.hosted_model import HostedModel
from aquahost.errors import LoadError
from aquahost.messages.snapshot import ModelState
from aquahost.placement.choose_gpu import choose_gpu, has_planned_room

logger = logging.getLogger(__name__)


class GpuReading(Protocol):
    """One GPU and its memory at one instant."""

    @property
    def index(self) -> int: ...

    @property
    def uuid(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def total_bytes(self) -> int: ...

    @property
    def free_bytes(self) -> int: ...

    @property
    def lost(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class _Room:
    """A GPU as the choice sees it."""

    index: int
    free_bytes: int


ReadGpus = Callable[[], Sequence[GpuReading]]
"""Reads all GPUs; may block, so it is called in a thread. Raises when the driver fails."""


class GpuWatch:
    """Holds the last reading of every GPU."""

    def __init__(self, read_gpus: ReadGpus) -> None:
        self._read_gpus = read_gpus
        self.readings: Sequence[GpuReading] = ()
        """The last ones, by GPU."""
        self._choosing = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the GPUs; a failure is logged and leaves the last reading."""
        try:
            self.readings = await asyncio.to_thread(self._read_gpus)
        except Exception:  # a driver's failure must not stop the daemon, which then shows the last figures
            logger.exception("the GPUs' memory cannot be read")

    async def assign(
        self,
        model: HostedModel,
        models: Iterable[HostedModel],
        *,
        lent_bytes: Callable[[int], int],
        lost: Callable[[int], str | None],
    ) -> int:
        """Choose a GPU for a model about to load and note it there. Raises LoadError if there is none for it.

        What is lent of a GPU counts as free: it is recalled for whoever loads there. Models that load at the same time
        are assigned one after another, so each sees the choices before it.
        """
        async with self._choosing:
            await self.refresh()
            loading, loaded, promised = _others(model, models)
            try:
                memory = [
                    _Room(reading.index, reading.free_bytes + lent_bytes(reading.index))
                    for reading in self.readings
                    if reading.lost is None and lost(reading.index) is None
                ]
                model.gpu = choose_gpu(
                    model.settings.gpu,
                    memory,
                    loading=loading,
                    loaded=loaded,
                    promised=promised,
                    preferred=model.preference,
                )
            except LoadError as error:
                raise LoadError(f"{error}; change its entry in models.yaml") from error
            planned = model.preference
            model.plan_fits = planned is not None and has_planned_room(
                planned, memory, loading=loading, promised=promised
            )
            return model.gpu


def _others(model: HostedModel, models: Iterable[HostedModel]) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """By GPU: how many others are being loaded, how many are loaded, and the bytes that those of the first will take of
    which the plan says so, which count as loaded."""
    loading: Counter[int] = Counter()
    loaded: Counter[int] = Counter()
    promised: Counter[int] = Counter()
    for other in models:
        if other is model or other.state is ModelState.UNLOADED:
            continue
        gpu, fixed, planned = other.gpu, other.settings.gpu, other.preference
        if other.state is ModelState.LOADING and (gpu is not None or fixed != "auto"):
            there = gpu if gpu is not None else int(fixed)
            if planned is not None and planned.gpu == there:
                promised[there] += planned.planned_bytes if other.plan_fits else planned.floor_bytes
                loaded[there] += 1
            else:
                loading[there] += 1
        elif gpu is not None:
            loaded[gpu] += 1
    return loading, loaded, promised

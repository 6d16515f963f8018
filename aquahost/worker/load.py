"""Loading the worker's model, with reports that do not flood the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aquahost.clock import Clock
from aquahost.config.settings import Kind, LeasingSettings, ModelSettings, SchedulerSettings
from aquahost.engines.engine import Engine
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.messages.memory import MemoryInstruction, MemoryReport
from aquahost.messages.wire import LoadProgress
from aquahost.worker.link import DaemonLink
from aquahost.worker.spec import DriverSpec, WorkerSpec

if TYPE_CHECKING:
    from aquahost_cuda.emulated.node import EmulatedNode

REPORT_PERIOD_S = 0.1
EXCHANGE_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An engine that takes prompts."""

    engine: Engine
    finish_work: Callable[[], None]
    """Waits for all that it has launched on its GPU."""


class LoadReporter:
    """Passes on a load's progress at most every `REPORT_PERIOD_S`, but each new stage and each stage's end."""

    def __init__(self, link: DaemonLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._stage = ""
        self._due_s = 0.0

    def __call__(self, progress: LoadProgress) -> None:
        """Report `progress`, or drop it because a newer one will follow."""
        now_s = self._clock.now_s()
        complete = 0 < progress.total <= progress.done
        if now_s < self._due_s and progress.stage == self._stage and not complete:
            return
        self._stage = progress.stage
        self._due_s = now_s + REPORT_PERIOD_S
        self._link.send(progress)


def memory_desk(spec: WorkerSpec, link: DaemonLink, clock: Clock) -> MemoryDesk:
    """The worker's desk, in touch with the broker if lending is enabled."""
    settings = LeasingSettings.model_validate(spec.leasing)

    def exchange(reports: list[MemoryReport]) -> list[MemoryInstruction]:
        for one in reports:
            link.send(one)
        # Nothing else comes during a load: prompts are for those that are ready, and whoever is unwanted is killed.
        return [message for message in link.receive(EXCHANGE_WAIT_S) if isinstance(message, MemoryInstruction)]

    return MemoryDesk(settings, clock, exchange=exchange if settings.enabled else None)


def load(spec: WorkerSpec, desk: MemoryDesk, report: LoadReporter) -> LoadedModel:
    """The loaded model. Raises LoadError with the reason for the user; other exceptions are faults of the code.

    A toy model needs no GPU, so neither torch nor a driver is imported for it.
    """
    settings = ModelSettings.model_validate(spec.model)
    scheduler = SchedulerSettings.model_validate(spec.scheduler)
    if settings.kind is Kind.TOY:
        from aquahost.engines.toy import load_toy

        return LoadedModel(load_toy(spec.name, settings, scheduler, None, report), lambda: None)

    report(LoadProgress("importing", 0, 0))
    from aquahost.engines.device import EngineDevice
    from aquahost.engines.registry import load_engine
    from aquahost_cuda.driver import load as load_driver

    driver = load_driver(spec.driver.choice, _node(spec.driver), spec.driver.partition, spec.driver.partition_path)
    device = EngineDevice(driver, spec.gpu, desk)
    engine = load_engine(spec.name, settings, scheduler, device, report, spec.step_times)
    return LoadedModel(engine, device.finish_work)


def _node(driver: DriverSpec) -> EmulatedNode | None:
    from aquahost_cuda.emulated.node import EmulatedNode

    return None if driver.node is None else msgspec.convert(driver.node, EmulatedNode)

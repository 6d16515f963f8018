"""Carries out what `Supervision` decides: begins workers, watches them, stops and kills them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from aquahost.clock import Clock
from aquahost.config.settings import Settings
from aquahost.daemon.endings import gone
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_watch import GpuWatch
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lending import Lending
from aquahost.daemon.lifecycle import (
    Announce,
    CarryOnPrompts,
    EndPrompts,
    HeartbeatHeard,
    Instruction,
    KillWanted,
    KillWorker,
    LoadRefused,
    LoadRequested,
    PromptConvicted,
    PromptsGone,
    SpawnWorker,
    StopWorker,
    StrandPrompts,
    SupervisionEvent,
    TimePassed,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
)
from aquahost.daemon.process_memory import oom_kills, resident_bytes
from aquahost.daemon.router import Router
from aquahost.daemon.start_placing import check_hostable
from aquahost.daemon.tasks import Tasks
from aquahost.daemon.worker_log import last_line, log_bytes, trim_logs
from aquahost.daemon.worker_process import WorkerProcess, describe_end
from aquahost.errors import LoadError
from aquahost.messages.wire import (
    EngineStats,
    FromWorker,
    Heartbeat,
    LoadFailed,
    LoadProgress,
    Pin,
    Ready,
    Stop,
    ToWorker,
)
from aquahost.worker.spec import DriverSpec, WorkerSpec

TICK_S = 0.1
POLL_S = 1.0


class Supervisor:
    """Owns every model's worker. All methods are called in the event loop's thread.

    A worker belongs to the model whose `worker_id` it has; messages of earlier workers are dropped.
    """

    def __init__(
        self,
        models: Mapping[str, HostedModel],
        *,
        gpus: GpuWatch,
        endpoint: str,
        run_dir: Path,
        driver: DriverSpec,
        settings: Settings,
        lends: bool,
        threads: int,
        send: Callable[[int, ToWorker], bool],
        prompts: Router,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._models = models
        self._gpus = gpus
        self._endpoint = endpoint
        self._run_dir = run_dir
        self._driver = driver
        self._scheduler = settings.scheduler.model_dump(mode="json")
        self._leasing = leasing = settings.leasing
        self.lends = lends
        """Whether workers begun from now on may borrow and lend."""
        self.links_known = asyncio.Event()
        """Set once links were tested, or will not be. Workers begin only then: their traffic would falsify rates."""
        self.threads = threads
        """Of torch, for each worker begun from now on."""
        self._log_prompts, self._log_format = settings.host.log_prompts, settings.host.log_format
        self._send = send
        self._prompts = prompts
        self._events = events
        self._clock = clock
        self.lending = Lending(leasing, send=send, kill=self._kill_borrower, log=events, clock=clock)
        self._by_worker: dict[int, HostedModel] = {}
        self._last_worker_id = 0
        self._oom_kills = (oom_kills(), oom_kills())
        """As counted at the last two looks: what is not in the first may be of the worker that has just ended."""
        self.faults: list[str] = []
        """Of the supervisor itself: anything here means that the daemon must be restarted."""
        self._watchers = Tasks("the daemon's supervisor", self.faults)
        self._workers = Tasks("the daemon's supervisor", self.faults)

    # -- requests ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to watch."""
        await self._look_at_gpus()
        self._watchers.begin(self._tick())
        self._watchers.begin(self._poll())

    async def close(self) -> None:
        """Fail the prompts that still live, stop every worker, kill those that do not stop, and wait for their end."""
        shutting_down = gone("the daemon is shutting down", "shutting_down")
        for model in self._models.values():
            self._prompts.end_prompts(model, shutting_down)
            self.unload(model, 0.0)
        await self._workers.ended()
        await self._watchers.cancel()

    def load(self, model: HostedModel) -> None:
        """Have the model loaded; does nothing where it is loading or ready."""
        model.wanted = True
        self.handle(model, LoadRequested())

    def unload(self, model: HostedModel, drain_s: float) -> None:
        """Have the model unloaded; its prompts may go on for `drain_s`."""
        model.wanted = False
        self.handle(model, UnloadRequested(drain_s, len(model.prompts)))

    def prompts_gone(self, model: HostedModel) -> None:
        """The model's last live prompt has ended."""
        self.handle(model, PromptsGone())

    def on_message(self, worker_id: int, message: FromWorker) -> None:
        """A worker says something about itself."""
        if (model := self._by_worker.get(worker_id)) is None:
            return
        match message:
            case Heartbeat(loop_passes, busy):
                self.handle(model, HeartbeatHeard(loop_passes, busy))
            case LoadProgress():
                model.load = message
            case Ready(footprint):
                model.footprint = footprint
                if model.pinned is not model.settings.pin:
                    self._send(worker_id, Pin(model.pinned))
                self.handle(model, WorkerReady())
            case LoadFailed(reason):
                self.handle(model, LoadRefused(reason))

    def on_stats(self, worker_id: int, stats: EngineStats) -> None:
        """A worker reports its engine's figures."""
        if (model := self._by_worker.get(worker_id)) is None:
            return
        self.lending.on_stats(model, stats)
        model.report(stats, self._clock.now_s())

    def handle(self, model: HostedModel, event: SupervisionEvent) -> None:
        """Let the state machine take in `event` and carry out what it says."""
        before = model.state, model.supervision.worker_runs
        for instruction in model.supervision.handle(event, self._clock.now_s()):
            self._carry_out(model, instruction)
        if (model.state, model.supervision.worker_runs) != before:
            model.tell_change()

    # -- instructions ------------------------------------------------------------------------------------------

    def _carry_out(self, model: HostedModel, instruction: Instruction) -> None:
        match instruction:
            case SpawnWorker():
                self._spawn(model)
            case StopWorker():
                if model.worker_id is not None:
                    self._send(model.worker_id, Stop())
            case KillWorker():
                self._kill(model)
            case EndPrompts(message, code):
                self._prompts.end_prompts(model, gone(message, code))
            case StrandPrompts(blamed):
                if self._prompts.strand(model, blamed=blamed):
                    self.handle(model, PromptConvicted())
            case CarryOnPrompts():
                self._prompts.carry_on(model)
            case Announce(kind, message):
                self._events.add(kind, message, model=model.name)

    def _spawn(self, model: HostedModel) -> None:
        self._last_worker_id += 1
        model.forget_worker()
        model.worker_id = self._last_worker_id
        self._by_worker[self._last_worker_id] = model
        self._workers.begin(self._attend(model, self._last_worker_id))

    def _kill(self, model: HostedModel) -> None:
        if model.process is not None:
            model.process.kill()
        else:
            model.kill_requested = True

    # -- a worker's life ---------------------------------------------------------------------------------------

    async def _attend(self, model: HostedModel, worker_id: int) -> None:
        """Begin a worker, wait for its end, and report it."""
        event: SupervisionEvent
        try:
            await self._await_links(model)
            if model.kill_requested:
                raise InterruptedError("no longer wanted")
            check_hostable(model.settings)
            gpu = await self._gpus.assign(
                model, self._models.values(), lent_bytes=self.lending.lent_bytes, lost=self.lending.lost
            )
            self.lending.joined(worker_id, model.name, gpu)
            event = await self._run(model, self._spec(model, worker_id, gpu))
        except LoadError as error:
            event = LoadRefused(str(error), worker_runs=False)
        except OSError as error:
            event = WorkerExited(f"could not be started: {error}")
        del self._by_worker[worker_id]
        self.lending.left(worker_id, model.stats)
        model.forget_worker()
        self.handle(model, event)

    async def _await_links(self, model: HostedModel) -> None:
        while not (self.links_known.is_set() or model.kill_requested):
            model.load = LoadProgress("testing the links between GPUs", 0, 0)
            self.handle(model, HeartbeatHeard(0, busy=False))  # it is we who keep it waiting
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.links_known.wait(), TICK_S)

    async def _run(self, model: HostedModel, spec: WorkerSpec) -> WorkerExited:
        """Run one worker to its end; returns how it ended."""
        written = await asyncio.to_thread(log_bytes, model.log_path)
        model.process = await WorkerProcess.spawn(spec, model.log_path)
        if model.kill_requested:
            model.process.kill()
        status = await model.process.wait()
        line = await asyncio.to_thread(last_line, model.log_path, written)
        # A fault of its own ends a process by other signals; SIGKILL comes from people, or from a kernel out of memory.
        from_outside = -status in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) and oom_kills() == self._oom_kills[0]
        return WorkerExited(describe_end(status, line), from_outside)

    def _spec(self, model: HostedModel, worker_id: int, gpu: int) -> WorkerSpec:
        return WorkerSpec(
            name=model.name,
            worker_id=worker_id,
            endpoint=self._endpoint,
            parent_pid=os.getpid(),
            gpu=gpu,
            turns_path=str(self._run_dir / f"gpu{gpu // self._driver.partition}.turns"),
            threads=self.threads,
            log_format=self._log_format,
            driver=self._driver,
            model=model.settings_on(gpu).model_dump(mode="json"),
            scheduler=self._scheduler,
            step_times=model.step_times,
            leasing=self._leasing.model_copy(update={"enabled": self.lends}).model_dump(mode="json"),
            log_prompts=self._log_prompts,
        )

    # -- watching ----------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            for model in self._models.values():
                self.handle(model, TimePassed())
            self.lending.tick()
            await asyncio.sleep(TICK_S)

    async def _poll(self) -> None:
        """Every `POLL_S`, read what workers do not report themselves, and keep their logs small."""
        while True:
            await asyncio.sleep(POLL_S)
            self._oom_kills = self._oom_kills[1], oom_kills()
            await self._look_at_gpus()
            await asyncio.to_thread(trim_logs, [model.log_path for model in self._models.values()])
            running = [model for model in self._models.values() if model.process is not None]
            pids = [model.process.pid for model in running if model.process is not None]
            for model, nbytes in zip(running, await asyncio.to_thread(resident_bytes, pids), strict=True):
                model.resident_bytes = nbytes if model.process is not None else None

    async def _look_at_gpus(self) -> None:
        await self._gpus.refresh()
        self.lending.on_readings(self._gpus.readings, self._models.values())

    def _kill_borrower(self, worker_id: int, because: str) -> None:
        if (model := self._by_worker.get(worker_id)) is not None:
            self.handle(model, KillWanted(because))

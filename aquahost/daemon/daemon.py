"""The daemon: models, their workers and their prompts, behind one object."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path

import zmq

from aquahost import __version__
from aquahost.clock import Clock
from aquahost.config.paths import log_name
from aquahost.config.settings import Settings
from aquahost.config.source import SettingsSource
from aquahost.daemon.assembly import account_weights, endpoint, hosted_models, worker_threads
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.gpu_watch import GpuWatch, ReadGpus
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.jobs.accounts import is_account
from aquahost.daemon.link_learning import FindLinks, LinkLearning
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.parking_desk import ParkingDesk
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.prompt_time_limit import PromptTimeLimit
from aquahost.daemon.queue_bounds import queue_bounds
from aquahost.daemon.reloading import Reloading
from aquahost.daemon.reply_so_far import Seen
from aquahost.daemon.router import Router
from aquahost.daemon.snapshot_of import snapshot_of
from aquahost.daemon.start_placing import PlanGpus, advise
from aquahost.daemon.supervisor import Supervisor
from aquahost.daemon.worker_link import WorkerLink
from aquahost.errors import RequestError, StartError
from aquahost.events import Event, EventKind
from aquahost.keys.keyring import Keyring
from aquahost.messages.figures import LendingFigures, PromptFigures
from aquahost.messages.memory import MemoryReport
from aquahost.messages.prompts import FinishReason, Request
from aquahost.messages.snapshot import Snapshot
from aquahost.messages.wire import FromWorker, Outputs
from aquahost.scheduling.slicer import StepTimes
from aquahost.worker.spec import DriverSpec

LONGEST_WAIT_S = 3600.0


class Daemon:
    """Hosts the configured models. Construct, `start`, and in the end `stop`.

    All methods are called in the event loop's thread; those that are not coroutines return at once. `run_dir` is a
    private folder of this run alone, `log_dir` the folder of the workers' logs; both exist.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        run_dir: Path,
        log_dir: Path,
        driver_name: str,
        worker_driver: DriverSpec,
        read_gpus: ReadGpus,
        clock: Clock,
        find_links: FindLinks | None = None,
        step_times: Mapping[str, StepTimes] | None = None,
        plan_gpus: PlanGpus | None = None,
        keyring: Keyring | None = None,
        source: SettingsSource | None = None,
    ) -> None:
        """Without `find_links` nothing is lent. `step_times`: of models whose steps were measured. `plan_gpus` is asked
        before models are loaded. Without `keyring` keys are those of `settings`. `source`: what `reload` reads."""
        self.keyring = keyring if keyring is not None else Keyring(settings)
        self.shutdown_requested = asyncio.Event()
        """Set once someone asked for the daemon's end; whoever runs it then calls `stop`."""
        self.run_id, self._log_dir, self._driver_name = run_dir.name, log_dir, driver_name
        self._clock, self._plan_gpus = clock, plan_gpus
        self._started_s, self._drain_until_s = clock.now_s(), float("inf")
        self._stir = asyncio.Event()
        """Set when `stop` may have less to wait for."""
        self._events, self._gpus = EventLog(), GpuWatch(read_gpus)
        self._link = WorkerLink(endpoint(run_dir), self._on_message)
        self._models = hosted_models(settings, log_dir, step_times or {})
        self._router = Router(
            self._models,
            send=self._link.send,
            want=self.load,
            idle=self._on_idle,
            events=self._events,
            clock=clock,
            weights=account_weights(self.keyring.weights, settings),
            bounds=queue_bounds(settings),
        )
        self._time_limit = PromptTimeLimit(self._router, settings.host.prompt_timeout_s)
        self._supervisor = Supervisor(
            self._models,
            gpus=self._gpus,
            endpoint=self._link.endpoint,
            run_dir=run_dir,
            driver=worker_driver,
            settings=settings,
            lends=find_links is not None and settings.leasing.enabled,
            threads=worker_threads(settings),
            send=self._link.send,
            prompts=self._router,
            events=self._events,
            clock=clock,
        )
        self._links = LinkLearning(self._supervisor, find_links, self._events)
        self._parking = ParkingDesk(lends=lambda: self._supervisor.lends, send=self._link.send)
        self.configuration = Reloading(
            settings, source, log_dir, self._models, self._router, self._supervisor, self._parking, self._events
        )
        self.configuration.watchers += [self.keyring.use, self._router.bounds.use]

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for workers, wait for the planner's advice (LONGEST_PLAN_S at most), and begin to load the models;
        returns before they are ready. Raises StartError."""
        try:
            self._link.start()
        except zmq.ZMQError as error:
            raise StartError(f"cannot listen on {self._link.endpoint}: {error}") from error
        await self._supervisor.start()
        self._time_limit.begin()
        self._events.add(EventKind.DAEMON_STARTED, f"aquahost {__version__} runs, driver {self._driver_name}")
        self._links.begin()
        await advise(self._models, self._plan_gpus, self._gpus.readings, self._events)
        for model in self._models.values():
            if model.settings.autoload:
                self._supervisor.load(model)

    def request_shutdown(self, drain_s: float) -> None:
        """Ask for the daemon's end: no new prompts, live ones may go on for `drain_s`. Asking again can only hurry."""
        self._drain_until_s = min(self._drain_until_s, self._clock.now_s() + drain_s)
        self._refuse("the daemon is shutting down", "shutting_down")
        self.shutdown_requested.set()
        self._stir.set()

    async def stop(self, drain_s: float) -> None:
        """Drain, end every worker, and let go of all sockets. `request_shutdown` meanwhile shortens the draining."""
        self.request_shutdown(drain_s)
        while self._router.live and (left_s := self._drain_until_s - self._clock.now_s()) > 0:
            self._stir.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), min(left_s, LONGEST_WAIT_S))
        await self._time_limit.close()
        await self.configuration.close()
        await self._links.close()
        await self._supervisor.close()
        self._link.close()
        self._events.close()

    async def drain(self) -> None:
        """Refuse new prompts and loads from now on; the live prompts go on."""
        if self._router.refusal is None:
            self._refuse("the daemon is draining; it takes no new prompts until it is restarted", "draining")

    # -- prompts -----------------------------------------------------------------------------------------------

    def submit(
        self, model: str, request: Request, *, tenant: str, priority: int = 0, notices: bool = False
    ) -> PromptStream:
        """Queue a request with a model; with `notices` the stream also tells how it stands.

        Raises UnknownModelError, InvalidRequestError for a kind of request that the model does not take,
        QueueFullError, or ModelUnavailableError unless it is ready; an unloaded model begins to load by this.
        """
        try:
            return self._router.submit(model, request, tenant, priority=priority, notices=notices)
        except RequestError as error:
            if not is_account(tenant):  # a job is not refused, it comes again
                self._router.counts.refused(model if model in self._models else "", error.status)
            raise

    def cancel(self, prompt_id: str) -> None:
        """Cancel a live prompt. Raises UnknownPromptError."""
        self._router.cancel(prompt_id)

    def prompt_output(self, prompt_id: str) -> AsyncGenerator[Seen]:
        """What a live prompt has produced so far, then what it produces, to its end; the only way to see another's
        text. Raises UnknownPromptError."""
        return self._router.output(prompt_id)

    # -- models ------------------------------------------------------------------------------------------------

    def load(self, name: str) -> None:
        """Begin to load a model; does nothing where it is loading or ready. Raises UnknownModelError, and
        ModelUnavailableError once the daemon drains or shuts down."""
        model = self._router.model(name)
        self._router.check_open()
        if not self.configuration.takes_load(name):
            self._supervisor.load(model)

    async def unload(self, name: str, drain_s: float) -> None:
        """Unload a model, its prompts may go on for `drain_s`; returns when its memory is free, or when someone has
        asked to load it meanwhile. Raises UnknownModelError."""
        self._supervisor.unload(model := self._router.model(name), drain_s)
        await model.gone_or_back()

    def park(self, name: str) -> None:
        """Have an idle model's weights leave its GPU. Raises UnknownModelError, InvalidRequestError for a toy, and
        ModelStateError where it cannot be parked now."""
        self._parking.park(self._router.model(name))

    def wake(self, name: str) -> None:
        """Have a parked model's weights come back. Raises the same, if it is not loaded."""
        self._parking.wake(self._router.model(name))

    def pin(self, name: str, *, pinned: bool) -> None:
        """Never park a model from now on, or park it again when idle, whatever its entry says. Raises
        UnknownModelError, and InvalidRequestError for a toy."""
        self._parking.pin(self._router.model(name), pinned=pinned)

    @property
    def settings(self) -> Settings:
        """What models.yaml says, as far as it holds."""
        return self.configuration.settings

    # -- views -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything at this instant."""
        now_s = self._clock.now_s()
        return snapshot_of(
            self._router,
            self._supervisor,
            self._links,
            self._gpus,
            self._events,
            now_s,
            run_id=self.run_id,
            driver=self._driver_name,
            uptime_s=now_s - self._started_s,
            leasing=self.settings.leasing.enabled,
        )

    def lending_figures(self) -> LendingFigures:
        """What lending has come to since the start."""
        return self._supervisor.lending.figures(self._models.values())

    def tell_ended(self, tell: Callable[[LivePrompt, FinishReason], None]) -> None:
        """Have `tell` called with each prompt that has ended."""
        self._router.counts.tell_ended = tell

    def prompt_figures(self) -> PromptFigures:
        """What prompts have come to since the start."""
        return self._router.counts.figures()

    def health(self) -> list[str]:
        """What is broken: workers that should run and are dead or seem hung. Empty is healthy."""
        now_s = self._clock.now_s()
        problems = (model.unhealthy(now_s) for model in self._models.values())
        own = (self._time_limit, self._link, self._supervisor, self._supervisor.lending)
        faults = [fault for part in own for fault in part.faults]
        return [*faults, *(problem for problem in problems if problem)]

    @property
    def faults(self) -> list[str]:
        """Takes the word on what breaks beside the daemon's own parts; its health tells."""
        return self._supervisor.faults

    def readiness(self) -> list[str]:
        """Why prompts are refused: draining, shutting down, or models that should be ready and are not. Empty is
        ready."""
        refusal = self._router.refusal
        refuses = [refusal[0].partition(";")[0]] if refusal is not None else []
        return [*refuses, *(why for model in self._models.values() if (why := model.unready()))]

    def events(self, after_seq: int) -> AsyncIterator[Event]:
        """The kept events numbered above `after_seq`, then each new one, until the daemon stops."""
        return self._events.follow(after_seq)

    def log_path(self, model: str | None) -> Path:
        """The log of a model's workers, or for None the daemon's own. Raises UnknownModelError."""
        return self._router.model(model).log_path if model is not None else self._log_dir / log_name(None)

    # -- pieces ------------------------------------------------------------------------------------------------

    def _refuse(self, message: str, code: str) -> None:
        if self._router.refusal is None:
            self._events.add(EventKind.DAEMON_DRAINING, "new prompts are refused")
        self._router.close(message, code)

    def _on_message(self, worker_id: int, message: FromWorker) -> None:
        if isinstance(message, Outputs):
            self._router.on_outputs(worker_id, message.outputs)
            if message.stats is not None:
                self._supervisor.on_stats(worker_id, message.stats)
                self._router.on_standings(worker_id, message.standings or [])
        elif isinstance(message, MemoryReport):
            self._supervisor.lending.on_report(worker_id, message)
        else:
            self._supervisor.on_message(worker_id, message)

    def _on_idle(self, model: HostedModel) -> None:
        self._supervisor.prompts_gone(model)
        self._stir.set()

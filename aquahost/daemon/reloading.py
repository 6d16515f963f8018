"""Carries out what a changed models.yaml asks for: models come, go and are begun anew while the others serve on."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from aquahost.config.settings import ModelSettings, Settings
from aquahost.config.source import SettingsSource
from aquahost.daemon.assembly import hosted_model, worker_threads
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.parking_desk import ParkingDesk
from aquahost.daemon.reload_plan import needs_new_worker, plan_reload
from aquahost.daemon.router import Router
from aquahost.daemon.supervisor import Supervisor
from aquahost.daemon.tasks import Tasks
from aquahost.errors import ConfigError, InvalidRequestError, ModelUnavailableError
from aquahost.events import EventKind
from aquahost.messages.reloaded import Change, Effect, Reloaded
from aquahost.messages.snapshot import ModelState

logger = logging.getLogger(__name__)

SettingsWatcher = Callable[[Settings], None]


@dataclass(frozen=True, slots=True)
class _Goal:
    """What a model that is being drained becomes."""

    entry: ModelSettings | None
    """Its next entry; None if it is to be removed."""
    _: KW_ONLY
    loads: bool
    """Whether it is loaded again by itself."""


class Reloading:
    """Owns the settings that hold, and the models that are on their way out, or to another entry.

    All methods are called in the event loop's thread. A model is drained before it is removed or begun anew; another
    reload meanwhile changes what it comes back with.
    """

    def __init__(
        self,
        settings: Settings,
        source: SettingsSource | None,
        log_dir: Path,
        models: dict[str, HostedModel],
        router: Router,
        supervisor: Supervisor,
        parking: ParkingDesk,
        events: EventLog,
    ) -> None:
        """`models` are those that the others look at; they are changed in place."""
        self.settings = settings
        self.watchers: list[SettingsWatcher] = []
        """Told of the settings whenever they have changed."""
        self._source = source
        self._models = models
        self._make = functools.partial(hosted_model, settings.host, log_dir)
        self._router = router
        self._supervisor = supervisor
        self._parking = parking
        self._events = events
        self._one_at_a_time = asyncio.Lock()
        self._goals: dict[str, _Goal] = {}
        """What models that are being drained become."""
        self._tasks = Tasks("the daemon's reloading", supervisor.faults)

    async def reload(self, path: Path | None) -> Reloaded:
        """Read models.yaml again, or the file at `path` from now on, and begin to do as it says.

        Raises InvalidRequestError with a line for each mistake (code "invalid_config"), and ModelUnavailableError once
        the daemon drains; then nothing has changed.
        """
        self._router.check_open()
        if self._source is None:
            raise InvalidRequestError("this daemon was not started from a models.yaml", code="no_config")
        async with self._one_at_a_time:
            try:
                read = await asyncio.to_thread(self._source.read, path)
            except ConfigError as error:
                lines = str(error).splitlines()
                more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
                self._events.add(EventKind.CONFIG_REFUSED, f"nothing is changed: {lines[0]}{more}")
                for line in lines:
                    logger.error("%s", line)
                raise InvalidRequestError(str(error), code="invalid_config") from error
            self._router.check_open()
            return self._apply(read, self._source.path)

    def takes_load(self, name: str) -> bool:
        """Someone wants a model: whether it is being drained for another entry, and is loaded by itself after that.
        Raises ModelUnavailableError for one that is to be removed."""
        goal = self._goals.get(name)
        if goal is None:
            return False
        if goal.entry is None:
            raise ModelUnavailableError(f"the model {name!r} is no longer in models.yaml", code="model_removed")
        self._goals[name] = _Goal(goal.entry, loads=True)
        return True

    async def close(self) -> None:
        """Leave what is being drained to whoever ends the daemon."""
        await self._tasks.cancel()

    # -- pieces ------------------------------------------------------------------------------------------------

    def _loaded(self) -> list[str]:
        """Models that are loaded, or ought to be, or will be by themselves."""
        return [
            name
            for name, model in self._models.items()
            if model.wanted or ((goal := self._goals.get(name)) is not None and goal.loads)
        ]

    def _apply(self, read: Settings, file: Path) -> Reloaded:
        before = self.settings
        plan = plan_reload(before, read, self._loaded())
        self.settings = plan.settings
        self._events.add(EventKind.CONFIG_RELOADED, _summary(plan.changes, file))
        for change in plan.changes:
            logger.info("%s: %s; %s", change.key, change.change, change.effect)
        for name in dict.fromkeys([*before.models, *read.models]):
            self._change(name, before.models.get(name), read.models.get(name))
        self._supervisor.threads = worker_threads(self.settings)
        for tell in self.watchers:
            tell(self.settings)
        return Reloaded(file=str(file), changes=plan.changes)

    def _change(self, name: str, old: ModelSettings | None, new: ModelSettings | None) -> None:
        if old == new:
            return
        if (goal := self._goals.get(name)) is not None:
            turned_on = new is not None and new.autoload and (old is None or not old.autoload)
            self._goals[name] = _Goal(new, loads=new is not None and (turned_on or (old is not None and goal.loads)))
        elif new is None:
            self._drain(self._models[name], _Goal(None, loads=False))
        elif old is None:
            model = self._models[name] = self._make(name, new)
            if new.autoload:
                self._supervisor.load(model)
        else:
            self._adjust(self._models[name], old, new)

    def _adjust(self, model: HostedModel, old: ModelSettings, new: ModelSettings) -> None:
        loads = model.wanted or (new.autoload and not old.autoload)
        model.take_over(new)
        if needs_new_worker(old, new):
            self._drain(model, _Goal(new, loads=loads))
            return
        if new.pin is not old.pin:
            self._parking.pin(model, pinned=new.pin)
        if loads and not model.wanted:
            self._supervisor.load(model)

    def _drain(self, model: HostedModel, goal: _Goal) -> None:
        self._goals[model.name] = goal
        if not _waits_for_worker(model):
            self._supervisor.unload(model, self.settings.host.drain_s)
        self._tasks.begin(self._come_back(model))

    async def _come_back(self, model: HostedModel) -> None:
        """Once a model is unloaded, give it its new entry and load it, or forget it."""
        while _waits_for_worker(model):
            await model.change()
        self._supervisor.unload(model, self.settings.host.drain_s)
        while model.state is not ModelState.UNLOADED or model.supervision.worker_runs:
            await model.change()
        goal = self._goals.pop(model.name)
        if goal.entry is None:
            del self._models[model.name]
            self._events.add(EventKind.MODEL_REMOVED, f"{model.name} is removed", model=model.name)
            return
        model.renew(goal.entry)
        if goal.loads:
            self._supervisor.load(model)


def _waits_for_worker(model: HostedModel) -> bool:
    """Whether prompts of a worker that died wait for the next one, which they are to have before they are drained."""
    return bool(model.prompts) and model.state is ModelState.LOADING


def _summary(changes: list[Change], file: Path) -> str:
    """A reload in one line."""
    if not changes:
        return f"{file} was read again: nothing has changed"
    restarts = sum(change.effect is Effect.RESTART for change in changes)
    count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
    return f"{file} was read again: {count}" + (f", {restarts} of them after a restart only" if restarts else "")

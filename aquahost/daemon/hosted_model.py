"""Everything the daemon knows of one configured model."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aquahost.config.settings import ModelSettings
from aquahost.daemon.completion_rate import CompletionRate
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.daemon.recent_work import RecentWork
from aquahost.daemon.reload_plan import MODEL_AT_ONCE
from aquahost.daemon.stranded import Stranded
from aquahost.daemon.supervision import Supervision
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.daemon.worker_process import WorkerProcess
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress
from aquahost.placement.preference import Preference
from aquahost.scheduling.slicer import StepTimes


class HostedModel:
    """A model, its worker and its prompts. The supervisor writes what concerns the worker, the router the prompts."""

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        limits: SupervisionLimits,
        log_path: Path,
        step_times: StepTimes | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.log_path = log_path
        self.supervision = Supervision(name, limits)
        self.wanted = False
        """Whether it ought to be loaded: asked for, and not unloaded since."""
        self.step_times = step_times
        """What its steps take, as a profile says; for its scheduler to begin with."""

        self.preference: Preference | None = None
        """Where the planner would have it."""
        self.plan_fits = False
        """Whether all that the plan has it take was free there when its GPU was chosen."""

        self.worker_id: int | None = None
        """The worker that runs or is being begun."""
        self.process: WorkerProcess | None = None
        self.kill_requested = False
        """A worker that is just being begun is to be killed."""
        self.gpu: int | None = None
        self.load: LoadProgress | None = None
        self.footprint: Footprint | None = None
        self.stats: EngineStats | None = None
        self.recent = RecentWork()
        self.resident_bytes: int | None = None
        self.pinned = settings.pin
        """Whether it is never parked; workers come and go, and this stays."""

        self.prompts: dict[str, LivePrompt] = {}
        """Live prompts by id, in order of arrival."""
        self.stranded = Stranded()
        """Those of them that wait for the next worker after one has died."""
        self.completions = CompletionRate()
        self._changed = asyncio.Event()

    @property
    def state(self) -> ModelState:
        """Where it stands."""
        return self.supervision.state

    def settings_on(self, gpu: int) -> ModelSettings:
        """Its entry, with the KV that the planner would have it reserve if it goes where that would have it, and if
        that much is free there."""
        planned = self.preference
        if planned is None or planned.gpu != gpu or planned.kv_bytes is None or not self.plan_fits:
            return self.settings
        return self.settings.model_copy(update={"kv_bytes": planned.kv_bytes})

    def take_over(self, entry: ModelSettings) -> None:
        """Go by what its new entry says to the daemon alone. `pin` is the worker's, too: whoever pins it tells it."""
        told = {key: getattr(entry, key) for key in MODEL_AT_ONCE if key != "pin"}
        self.settings = self.settings.model_copy(update=told)

    def renew(self, entry: ModelSettings) -> None:
        """Its next worker goes by `entry`; what was planned and measured for the last one does not hold any more."""
        self.settings, self.pinned = entry, entry.pin
        self.preference = self.step_times = None
        self.plan_fits = False

    def tell_change(self) -> None:
        """Wake whoever waits for a change of its state, or for its worker's end."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Wait for the next change of its state, or for its worker's beginning or end."""
        await self._changed.wait()

    async def gone_or_back(self) -> None:
        """Wait until it is unloaded and its worker has ended, or until someone has wanted it meanwhile."""
        while self.state is ModelState.DRAINING or (self.state is ModelState.UNLOADED and self.supervision.worker_runs):
            await self.change()

    def unhealthy(self, now_s: float) -> str | None:
        """Why its worker, which should run, is dead or seems hung; None if it is well. Fit for strangers."""
        if self.wanted and self.supervision.worker_died:
            return f"{self.name}: its worker died"
        silent_s = self.supervision.suspicious_silence_s(now_s)
        return f"{self.name}: no sign of life for {silent_s:.0f} s" if silent_s is not None else None

    def unready(self) -> str | None:
        """Why it does not take prompts, though it should; None if it does or need not. Fit for strangers."""
        if not self.wanted or self.state is ModelState.READY:
            return None
        if self.state is ModelState.FAILED:
            return f"{self.name}: failed (see `aquahost ps`)"
        return f"{self.name}: " + ("its worker died" if self.supervision.worker_died else self.state)

    def report(self, stats: EngineStats, now_s: float) -> None:
        """Its worker reports its engine's figures."""
        self.stats = stats
        self.recent.note(stats, now_s)

    def forget_worker(self) -> None:
        """Clear what was true of a worker that has ended."""
        self.worker_id = self.process = self.gpu = None
        self.load = self.footprint = self.stats = self.resident_bytes = None
        self.recent = RecentWork()
        self.kill_requested = False

    def view(self, now_s: float) -> ModelView:
        """What a snapshot shows of it."""
        supervision = self.supervision
        ready_since_s = supervision.ready_since_s
        return ModelView(
            name=self.name,
            kind=str(self.settings.kind),
            source=self.settings.source,
            state=supervision.state,
            gpu=self.gpu,
            pid=self.process.pid if self.process else None,
            restarts=supervision.restarts,
            reason=supervision.reason,
            load=self.load if supervision.state is ModelState.LOADING else None,
            footprint=self.footprint,
            stats=self.stats,
            queue=len(self.prompts),
            max_queue=self.settings.max_queue,
            ready_for_s=None if ready_since_s is None else now_s - ready_since_s,
            resident_bytes=self.resident_bytes,
            pinned=self.pinned,
        )

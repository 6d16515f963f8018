"""The life of one hosted model as a state machine: events in, instructions out.

                     LoadRequested        WorkerReady         UnloadRequested       WorkerExited
          unloaded ----------------> loading ------> ready ------------------> draining ----------> unloaded
                                      ^   |  ^         |
                            a restart |   |  +---------+  a crash: again after a back-off
                                      +---+
                                          |  LoadRefused, or more than max_restarts crashes in a row
                                          +----------------------------------------------> failed

Pure: no I/O, no clock of its own, no logging. Times are `Clock.now_s()` of the daemon.
"""

from __future__ import annotations

from aquahost.daemon.lifecycle import (
    LEGAL_TRANSITIONS,
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
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.events import EventKind
from aquahost.messages.snapshot import ModelState
from aquahost.units import format_seconds


class Supervision:
    """One model's state, changed by `handle` alone."""

    def __init__(self, name: str, limits: SupervisionLimits) -> None:
        self.name = name
        self.state = ModelState.UNLOADED
        self.reason: str | None = None
        """Why it failed, or why its worker last died; for the operator alone: it may quote the worker's log."""
        self.restarts = 0
        """Workers begun after a crash, since the daemon's start."""
        self.worker_runs = False
        """From SpawnWorker to WorkerExited."""
        self.ready_since_s: float | None = None
        self._limits = limits
        self._crashes = 0
        self._respawn_s: float | None = None
        self._drain_until_s = 0.0
        self._kill_after_s: float | None = None
        self._stopping = False
        self._load_again = False
        self._killed_because: str | None = None
        self._killed_over_prompt = False
        """Whether it was killed for what a prompt may have made it do."""
        self._heard_s = 0.0
        self._passes = 0
        self._passes_since_s = 0.0
        self._looked_s: float | None = None

    def handle(self, event: SupervisionEvent, now_s: float) -> list[Instruction]:
        """Take in what happened; returns what is to be done, in this order."""
        match event:
            case TimePassed():
                return self._on_time(now_s)
            case HeartbeatHeard():
                return self._on_heartbeat(event, now_s)
            case KillWanted(because):
                return self._on_kill_wanted(because, now_s)
            case PromptConvicted():
                self._crashes = min(self._crashes, 1)
                return []
            case LoadRequested():
                return self._on_load(now_s)
            case UnloadRequested():
                return self._on_unload(event, now_s)
            case PromptsGone():
                return self._stop(now_s) if self.state is ModelState.DRAINING else []
            case WorkerReady():
                return self._on_ready(now_s)
            case LoadRefused():
                return self._on_refused(event, now_s)
            case WorkerExited():
                return self._on_exit(event, now_s)

    def suspicious_silence_s(self, now_s: float) -> float | None:
        """Seconds since the worker's last sign of life, once they are half of what would cost it its life."""
        silent_s = now_s - self._heard_s
        return silent_s if self.worker_runs and silent_s > self._silence_limit_s / 2 else None

    @property
    def worker_died(self) -> bool:
        """Whether its worker died, and no other has become ready since."""
        return self._crashes > 0 and self.state in (ModelState.LOADING, ModelState.FAILED)

    # -- requests ----------------------------------------------------------------------------------------------

    def _on_load(self, now_s: float) -> list[Instruction]:
        match self.state:
            case ModelState.READY:
                return []
            case ModelState.LOADING:
                self._respawn_s = now_s if self._respawn_s is not None else None
                return self._respawn_if_due(now_s)
            case ModelState.DRAINING if not self._stopping:
                self._enter(ModelState.READY)
                return [Announce(EventKind.MODEL_READY, f"{self.name} stays loaded")]
        if self.worker_runs:
            self._load_again = True
            return []
        return self._begin(now_s)

    def _begin(self, now_s: float) -> list[Instruction]:
        self._enter(ModelState.LOADING)
        self.reason = None
        self._crashes = 0
        self._load_again = False
        return [Announce(EventKind.MODEL_LOADING, f"loading {self.name}"), self._spawn(now_s)]

    def _on_unload(self, event: UnloadRequested, now_s: float) -> list[Instruction]:
        self._load_again = False
        match self.state:
            case ModelState.UNLOADED:
                return []
            case ModelState.DRAINING:
                self._drain_until_s = min(self._drain_until_s, now_s + event.drain_s)
                return self._on_time(now_s)
            case ModelState.READY:
                self._enter(ModelState.DRAINING)
                self._drain_until_s = now_s + event.drain_s
                announce = Announce(EventKind.MODEL_DRAINING, f"unloading {self.name}")
                return [announce, *(self._stop(now_s) if event.live_prompts == 0 else self._on_time(now_s))]
            case ModelState.LOADING if self.worker_runs:
                self._enter(ModelState.DRAINING)
                self._stopping = True
                unwanted = Announce(EventKind.MODEL_DRAINING, f"{self.name} is no longer wanted")
                return [unwanted, self._end_prompts_of_the_unloaded(), self._kill(None)]
        self._respawn_s = None
        self.reason = None
        self._enter(ModelState.UNLOADED)
        kill: list[Instruction] = [self._kill(None)] if self.worker_runs else []
        unloaded = Announce(EventKind.MODEL_UNLOADED, f"{self.name} is unloaded")
        return [self._end_prompts_of_the_unloaded(), *kill, unloaded]

    # -- the worker --------------------------------------------------------------------------------------------

    def _on_ready(self, now_s: float) -> list[Instruction]:
        if self.state is not ModelState.LOADING:
            return []
        self._enter(ModelState.READY)
        self.ready_since_s = now_s
        self._passes_since_s = now_s
        return [Announce(EventKind.MODEL_READY, f"{self.name} is ready"), CarryOnPrompts()]

    def _on_refused(self, event: LoadRefused, now_s: float) -> list[Instruction]:
        self.worker_runs = event.worker_runs
        if self.state is not ModelState.LOADING:
            return [] if event.worker_runs else self._on_exit(WorkerExited(event.reason), now_s)
        self._crashes = 0
        failed = [*self._fail(event.reason), self._end_prompts_of_the_dead()]
        return [*failed, *self._stop(now_s)] if event.worker_runs else failed

    def _on_exit(self, event: WorkerExited, now_s: float) -> list[Instruction]:
        how = self._killed_because or event.how
        blamed = self._killed_over_prompt if self._killed_because else not event.from_outside
        # Whoever kills a worker that is at work may do so as often as they like: that tells nothing of the model.
        enough_s = 0.0 if event.from_outside and self._killed_because is None else self._limits.healthy_s
        healthy = self.ready_since_s is not None and now_s - self.ready_since_s >= enough_s
        self.worker_runs = self._stopping = False
        self._killed_because = self._kill_after_s = self.ready_since_s = None
        match self.state:
            case ModelState.LOADING | ModelState.READY:
                return self._crash(how, 1 if healthy else self._crashes + 1, blamed, now_s)
            case ModelState.DRAINING:
                self._enter(ModelState.UNLOADED)
                ended: list[Instruction] = [
                    self._end_prompts_of_the_dead(),
                    Announce(EventKind.MODEL_UNLOADED, f"{self.name} is unloaded"),
                ]
                return [*ended, *self._begin(now_s)] if self._load_again else ended
        return self._begin(now_s) if self._load_again else []

    def _crash(self, how: str, crashes: int, blamed: bool, now_s: float) -> list[Instruction]:
        self._crashes = crashes
        died = Announce(EventKind.WORKER_DIED, f"the worker of {self.name} {how}")
        if crashes > self._limits.max_restarts:
            times = "once" if crashes == 1 else f"{crashes} times in a row"
            return [
                died,
                self._end_prompts_of_the_dead(),
                *self._fail(f"its worker died {times}; at last it {how}"),
            ]
        self.reason = f"its worker {how}{self._limits.in_a_row(crashes)}"
        self._enter(ModelState.LOADING)
        self._respawn_s = now_s + self._limits.backoff_s(crashes)
        return [died, StrandPrompts(blamed)]

    def _fail(self, reason: str) -> list[Instruction]:
        self._enter(ModelState.FAILED)
        self.reason = reason
        self.ready_since_s = None
        return [Announce(EventKind.MODEL_FAILED, f"{self.name} failed: {reason}")]

    def _on_kill_wanted(self, because: str, now_s: float) -> list[Instruction]:
        if not self.worker_runs or self._killed_because is not None:
            return []
        # It may have kept the memory because a prompt keeps it from doing anything.
        return [self._kill(because, over_prompt=now_s - self._passes_since_s > self._limits.stuck_s)]

    # -- time --------------------------------------------------------------------------------------------------

    def _on_heartbeat(self, event: HeartbeatHeard, now_s: float) -> list[Instruction]:
        self._heard_s = now_s
        if event.loop_passes != self._passes or not event.busy:
            self._passes = event.loop_passes
            self._passes_since_s = now_s
        return []

    def _on_time(self, now_s: float) -> list[Instruction]:
        self._forgive_own_stall(now_s)
        if self._respawn_s is not None:
            return self._respawn_if_due(now_s)
        if not self.worker_runs or self._killed_because is not None:
            return []
        if self._kill_after_s is not None:
            return [self._kill("did not stop when asked")] if now_s >= self._kill_after_s else []
        silent_s = now_s - self._heard_s
        if silent_s > self._silence_limit_s:
            silent = f"gave no sign of life for {format_seconds(silent_s)} and was killed"
            return [self._kill(silent, over_prompt=True)]
        stuck_s = now_s - self._passes_since_s
        if self.state in (ModelState.READY, ModelState.DRAINING) and stuck_s > self._limits.step_timeout_s:
            return [self._kill(f"hung for {format_seconds(stuck_s)} and was killed", over_prompt=True)]
        if self.state is ModelState.DRAINING and now_s >= self._drain_until_s:
            return [self._end_prompts_of_the_unloaded(), *self._stop(now_s)]
        return []

    def _forgive_own_stall(self, now_s: float) -> None:
        gap_s = now_s - self._looked_s if self._looked_s is not None else 0.0
        self._looked_s = now_s
        if gap_s > self._limits.stall_s:
            self._heard_s = min(now_s, self._heard_s + gap_s)
            self._passes_since_s = min(now_s, self._passes_since_s + gap_s)

    def _respawn_if_due(self, now_s: float) -> list[Instruction]:
        if self._respawn_s is None or now_s < self._respawn_s:
            return []
        self.restarts += 1
        return [Announce(EventKind.MODEL_LOADING, f"restarting the worker of {self.name}"), self._spawn(now_s)]

    @property
    def _silence_limit_s(self) -> float:
        patience = self._limits.loading_patience if self.state is ModelState.LOADING else 1.0
        return self._limits.heartbeat_timeout_s * patience

    # -- pieces ------------------------------------------------------------------------------------------------

    def _spawn(self, now_s: float) -> SpawnWorker:
        self.worker_runs = True
        self._respawn_s = None
        self._heard_s = self._passes_since_s = now_s
        self._passes = 0
        return SpawnWorker()

    def _stop(self, now_s: float) -> list[Instruction]:
        if self._stopping or not self.worker_runs:
            return []
        self._stopping = True
        self._kill_after_s = now_s + self._limits.stop_grace_s
        return [StopWorker()]

    def _end_prompts_of_the_dead(self) -> EndPrompts:
        # Clients read this, and how a worker ended may quote its log, with another's prompt in it.
        return EndPrompts(f"the worker of {self.name} died; see `aquahost logs {self.name}`", "worker_died")

    def _end_prompts_of_the_unloaded(self) -> EndPrompts:
        return EndPrompts(f"the model {self.name} was unloaded", "model_unloaded")

    def _kill(self, because: str | None, *, over_prompt: bool = False) -> KillWorker:
        self._killed_because = because or "was killed"
        self._killed_over_prompt = over_prompt
        return KillWorker()

    def _enter(self, state: ModelState) -> None:
        if state is self.state:
            return
        if state not in LEGAL_TRANSITIONS[self.state]:
            raise AssertionError(f"{self.name}: {self.state} -> {state} is no legal transition")
        self.state = state

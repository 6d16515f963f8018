"""What can happen to a hosted model (events), and what is then to be done (instructions)."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost.events import EventKind
from aquahost.messages.snapshot import ModelState

# -- events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadRequested:
    """Someone wants the model."""


@dataclass(frozen=True, slots=True)
class UnloadRequested:
    """Someone wants its memory back."""

    drain_s: float
    """How long its prompts may go on."""
    live_prompts: int


@dataclass(frozen=True, slots=True)
class PromptsGone:
    """The model's last live prompt ended."""


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker has loaded the model."""


@dataclass(frozen=True, slots=True)
class LoadRefused:
    """The model cannot be loaded, and trying again would not help."""

    reason: str
    worker_runs: bool = True
    """False if no worker was begun."""


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The worker's process is gone, or could not be begun."""

    how: str
    """For people: "was killed by SIGKILL", "exited with status 1: MemoryError"."""
    from_outside: bool = False
    """Whether no prompt can have brought it about."""


@dataclass(frozen=True, slots=True)
class HeartbeatHeard:
    """A sign of life."""

    loop_passes: int
    busy: bool


@dataclass(frozen=True, slots=True)
class KillWanted:
    """The broker wants the worker's end: it keeps memory that is wanted back."""

    because: str
    """How it ended, as the end of a sentence: "kept …, and was killed"."""


@dataclass(frozen=True, slots=True)
class PromptConvicted:
    """The last end was one prompt's doing, and that prompt is gone: it says nothing of the model."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Look at the deadlines; sent several times a second."""


SupervisionEvent = (
    LoadRequested
    | UnloadRequested
    | PromptsGone
    | WorkerReady
    | LoadRefused
    | WorkerExited
    | HeartbeatHeard
    | KillWanted
    | PromptConvicted
    | TimePassed
)

# -- instructions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Begin a worker; answered by WorkerReady, LoadRefused or WorkerExited."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Ask the worker to close and exit; answered by WorkerExited."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Kill the worker and all it started; answered by WorkerExited."""


@dataclass(frozen=True, slots=True)
class EndPrompts:
    """Fail every live prompt of the model: 503 with this message."""

    message: str
    code: str


@dataclass(frozen=True, slots=True)
class StrandPrompts:
    """The model's live prompts have no worker any more; they wait for the next one."""

    blamed: bool
    """Whether one of them may have been what ended it."""


@dataclass(frozen=True, slots=True)
class CarryOnPrompts:
    """There is a worker again: whoever waits for one goes on."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell those who watch."""

    kind: EventKind
    message: str


Instruction = SpawnWorker | StopWorker | KillWorker | EndPrompts | StrandPrompts | CarryOnPrompts | Announce

LEGAL_TRANSITIONS: dict[ModelState, frozenset[ModelState]] = {
    ModelState.UNLOADED: frozenset({ModelState.LOADING}),
    ModelState.LOADING: frozenset({ModelState.READY, ModelState.DRAINING, ModelState.UNLOADED, ModelState.FAILED}),
    ModelState.READY: frozenset({ModelState.LOADING, ModelState.DRAINING, ModelState.FAILED}),
    ModelState.DRAINING: frozenset({ModelState.READY, ModelState.UNLOADED}),
    ModelState.FAILED: frozenset({ModelState.LOADING, ModelState.UNLOADED}),
}

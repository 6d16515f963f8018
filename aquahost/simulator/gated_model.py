"""A simulated image or audio model: the gated engine's loop with the real turns, steps taking what the profile says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aquahost.config.settings import Policy
from aquahost.engines.memory_curve import Measured, MemoryCurve
from aquahost.engines.memory_desk import MemoryDesk, Part
from aquahost.messages.memory import LeaseGranted, LeaseReturned, MemoryInstruction
from aquahost.messages.prompts import PromptState
from aquahost.profiles.profile import GatedCosts, SizedCost
from aquahost.scheduling.step_turns import StepTurns
from aquahost.simulator.agenda import Agenda, Entry
from aquahost.simulator.gpu_turns import GpuTurns
from aquahost.simulator.lending import MESSAGE_S, SimLending
from aquahost.simulator.prompts import SimPrompt, SoFar
from aquahost.simulator.weights_parking import WeightsParking
from aquahost.simulator.workspace import SimWorkspace

IDLE_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedParts:
    """What an image or audio model is made of."""

    name: str
    costs: GatedCosts
    gpu: int
    worker_id: int
    desk: MemoryDesk
    parking: WeightsParking
    turns: GpuTurns
    policy: Policy
    max_begun: int
    max_queue: int


@dataclass(slots=True, eq=False)
class _Job:
    prompt: SimPrompt
    cost: SizedCost
    done: int = 0
    """Steps done."""


class GatedModel:
    """Owns its live prompts; one step of one prompt at a time."""

    def __init__(
        self, parts: GatedParts, agenda: Agenda, lending: SimLending, ended: Callable[[SimPrompt, str], None]
    ) -> None:
        """`ended` is told of each prompt that is through, with why it failed."""
        self.parts = parts
        self.name = parts.name
        self._agenda = agenda
        self._lending = lending
        self._ended = ended
        self.turns = StepTurns(parts.policy, parts.max_begun)
        self.workspace = SimWorkspace(parts.desk)
        self._curve = MemoryCurve(
            [Measured(size=one.size, peak_bytes=one.peak_bytes, held_bytes=one.held_bytes) for one in parts.costs.sizes]
        )
        self.jobs: dict[str, _Job] = {}
        self._slot = parts.turns.join(self.wake)
        self._too_large: str | None = None
        self._is_stepping = False
        self._step_began_s = 0.0
        self._next: Entry | None = None
        self.steps = 0
        self.busy_s = 0.0

    @property
    def live(self) -> dict[str, SimPrompt]:
        """Prompts that have not ended."""
        return {name: job.prompt for name, job in self.jobs.items()}

    def so_far(self) -> SoFar:
        """For whoever looks on."""
        return SoFar(self.busy_s + (self._agenda.now_s() - self._step_began_s if self._is_stepping else 0.0))

    def submit(self, prompt: SimPrompt, *, weight: float = 1.0, level: int = 0) -> None:
        """A prompt arrives."""
        if len(self.jobs) >= self.parts.max_queue:
            self._ended(prompt, "429: queue full")
            return
        costs, trace = self.parts.costs, prompt.trace
        size = costs.default_size if trace.size is None else trace.size
        cost = costs.at(size)
        by_size = round(size * cost.steps_per_size) if cost.steps_per_size else costs.default_steps
        prompt.steps = trace.steps or max(1, by_size)
        self.turns.add(prompt.id, trace.tenant, weight=weight, priority=level, steps=prompt.steps)
        self.jobs[prompt.id] = _Job(prompt, cost)
        self.wake()

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's word."""
        if not self.parts.desk.on_memory(message) and isinstance(message, LeaseGranted):
            self.parts.desk.report(LeaseReturned(message.lease_id, message.nbytes))
        self.wake()

    def wake(self) -> None:
        """Something has changed: see to it once the step that is under way has ended."""
        if not self._is_stepping:
            self._look_at(self._agenda.now_s())

    def tend(self) -> None:
        """See to memory and weights, and tell the broker."""
        self.parts.parking.tend(busy=bool(self.jobs))
        if not self.jobs:
            self.workspace.rest()
        elif self.parts.parking.is_awake:
            self._make_room()
        self.report()

    def report(self) -> None:
        """Tell the broker what there is to tell."""
        self._lending.report(self.parts.worker_id, self.parts.desk.take_reports())

    def _look_at(self, at_s: float) -> None:
        if self._next is not None:
            if self._next.action is not None and self._next.at_s <= at_s:
                return
            self._next.cancel()
        self._next = self._agenda.at(at_s, self._look)

    def _look(self) -> None:
        if self._is_stepping:
            return
        self.tend()
        if not self.jobs:
            self._rest()
            return
        may_begin = self._may_begin()
        if not self.parts.parking.is_awake or not (self.turns.begun or may_begin):
            self.parts.turns.leave(self._slot)
            return
        if not self.parts.turns.take(self._slot):
            return
        prompt_id = self.turns.take(begin=may_begin)
        if prompt_id is not None:
            self._step(self.jobs[prompt_id])

    def _step(self, job: _Job) -> None:
        """The first opening of a gate prepares and takes a step, the last one only finishes."""
        is_last = job.done == job.prompt.steps
        took_s = job.cost.end_s if is_last else job.cost.step_s
        if not job.done and not is_last:
            took_s += job.cost.begin_s
            job.prompt.state = PromptState.RUNNING
        self._is_stepping, self._step_began_s = True, self._agenda.now_s()
        self._agenda.after(took_s, partial(self._end_step, job, took_s, is_last=is_last))

    def _end_step(self, job: _Job, took_s: float, *, is_last: bool) -> None:
        self._is_stepping = False
        self.steps += 1
        self.busy_s += took_s
        prompt = job.prompt
        job.done += not is_last
        self.turns.served(prompt.id, took_s, prompt.steps - job.done)
        if is_last:
            self._end(prompt, "")
        else:
            prompt.came_s.append(self._agenda.now_s() + MESSAGE_S)
        self.parts.turns.stepped(self._slot, took_s)
        self._look()

    def _rest(self) -> None:
        self.parts.turns.leave(self._slot)
        if self.workspace.nbytes or not self.parts.desk.is_settled:
            self._look_at(self._agenda.now_s() + IDLE_LOOK_S)
        elif (due_in_s := self.parts.parking.due_in_s) < float("inf"):
            self._look_at(self._agenda.now_s() + max(due_in_s, 0.01))

    # -- memory ------------------------------------------------------------------------------------------------

    def _needed_to_begin(self) -> int | None:
        waiting = self.turns.next_to_begin
        if waiting is None or waiting == self._too_large:
            return None
        return self._curve.needed_bytes([self.jobs[one].cost.size for one in [waiting, *self.turns.begun_ids()]])

    def _may_begin(self) -> bool:
        needed_bytes = self._needed_to_begin()
        return needed_bytes is not None and needed_bytes <= self.workspace.nbytes

    def _make_room(self) -> None:
        needed_bytes = self._needed_to_begin()
        if needed_bytes is None or self.workspace.want(needed_bytes):
            return
        desk = self.parts.desk
        if desk.refused is None or desk.wanted(Part.WORK) >= needed_bytes:
            return
        waiting = self.turns.next_to_begin
        if self.turns.begun or waiting is None:
            self._too_large = waiting
        else:
            self._end(self.jobs[waiting].prompt, "503: the GPU has not the memory for this prompt")

    def _end(self, prompt: SimPrompt, failure: str) -> None:
        del self.jobs[prompt.id]
        prompt.service_s = self.turns.service_s(prompt.id)
        self.turns.remove(prompt.id)
        self._too_large = None
        self._ended(prompt, failure)

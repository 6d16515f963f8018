"""The engine of every model whose prompts pass gates: images and sounds."""

from __future__ import annotations

import logging

import torch

from aquahost.config.settings import Policy
from aquahost.engines.device import EngineDevice
from aquahost.engines.failures import describe_failure, out_of_memory
from aquahost.engines.gate import AtGate, Gate, Raised, Returned, ThreadContext
from aquahost.engines.gated_model import GatedModel, Job, Made
from aquahost.engines.memory_curve import MemoryCurve
from aquahost.engines.parking import Parking
from aquahost.engines.random_state import RandomState
from aquahost.engines.workspace import NoRoomError, Workspace
from aquahost.errors import InvalidRequestError, RequestError
from aquahost.log_format import PROMPT_ID
from aquahost.log_privacy import error_of_prompt
from aquahost.messages.memory import LeaseGranted, LeaseReturned, MemoryInstruction, MemoryReport
from aquahost.messages.prompts import (
    Accepted,
    Artifact,
    ErrorDetail,
    Finished,
    FinishReason,
    Output,
    Progress,
    Prompt,
    PromptState,
    StateChanged,
)
from aquahost.messages.wire import EngineStats, Footprint, ParkingWish, Standing
from aquahost.scheduling.step_turns import StepTurns

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 0.5


class GatedEngine:
    """Advances image and audio prompts one denoising step (or audio token) at a time, up to `max_begun` in turns that
    the model's policy gives.

    A prompt begins once the GPU has the memory that it and those begun before it need; the weights of an idle model
    may be parked.
    """

    def __init__(
        self,
        model: GatedModel,
        device: EngineDevice,
        curve: MemoryCurve,
        footprint: Footprint,
        *,
        policy: Policy,
        max_begun: int,
        pin: bool = False,
    ) -> None:
        """`curve`: what prompts need beyond the weights. `pin`: the weights never leave the GPU."""
        self.model = model
        """What it serves; measurements look at it."""
        self.curve = curve
        """What prompts need beyond the weights; measurements look at it."""
        self._device = device
        self._desk = device.desk
        self._footprint = footprint
        self._workspace = Workspace(device)
        self._parking = Parking(device, pin=pin, ready_to_park=lambda: not self._workspace.nbytes)
        self._turns = StepTurns(policy, max_begun)
        self._sizes: dict[str, float] = {}
        self._jobs: dict[str, Job] = {}
        self._gates: dict[str, Gate[Made]] = {}
        self._refused: list[Output] = []
        self._too_large: str | None = None
        """The prompt that could not begin beside those that have; until one of them has ended it need not try again."""
        self._steps = 0
        self._busy_s = 0.0

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU, and its limits."""
        return self._footprint

    def submit(self, prompt: Prompt) -> Accepted:
        """Take a prompt. Raises errors.InvalidRequestError naming the field at fault, and nothing but RequestError."""
        if prompt.id in self._sizes:
            raise InvalidRequestError(f"prompt {prompt.id} is live already", param="id")
        job = self._prepare(prompt)
        self._turns.add(prompt.id, prompt.tenant, weight=prompt.weight, priority=prompt.priority, steps=job.steps)
        self._jobs[prompt.id] = job
        self._sizes[prompt.id] = job.size
        self._parking.wake()
        self.tend()
        return Accepted(prompt_id=prompt.id, steps=job.steps)

    def cancel(self, prompt_id: str) -> None:
        """Forget a prompt; its thread has ended and its memory is free on return. Unknown ids are ignored."""
        gate = self._gates.get(prompt_id)
        if gate is not None:
            gate.cancel()
        self._forget(prompt_id)
        self.tend()

    def has_work(self) -> bool:
        """Whether a prompt can take a step now, or its refusal is to be told."""
        if self._refused:
            return True
        return self._parking.is_awake and (self._turns.begun > 0 or self._may_begin())

    def step(self) -> list[Output]:
        """One step of the prompt whose turn it is; raises only if the device itself has failed."""
        if self._refused:
            outputs, self._refused = self._refused, []
            return outputs
        if not self._parking.is_awake:
            return []
        prompt_id = self._turns.take(begin=self._may_begin())
        outputs = self._advance(prompt_id) if prompt_id is not None else []
        self.tend()
        return outputs

    def tend(self) -> None:
        """Have the weights and the memory that the next step needs, or give up what nothing needs."""
        early, self._desk.early = self._desk.early, []
        for message in early:
            self.on_memory(message)
        self._parking.tend(busy=bool(self._sizes))
        if not self._sizes:
            self._workspace.rest()
        elif self._parking.stuck:
            for prompt_id in list(self._sizes):
                self._refuse(prompt_id, self._parking.stuck)
        elif self._parking.is_awake:
            self._make_room()

    def wait_s(self) -> float:
        """0 where a step is due, else until something may change by itself; half a second at most."""
        if self.has_work():
            return 0.0
        return min(self._parking.wait_s(), self._workspace.wait_s(), LONGEST_WAIT_S)

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's answer, or its wish."""
        if self._desk.on_memory(message) or self._parking.on_memory(message):
            return
        if isinstance(message, LeaseGranted):  # too late: nothing is parked any more
            self._desk.report(LeaseReturned(message.lease_id, message.nbytes))

    def on_wish(self, wish: ParkingWish) -> None:
        """Park, wake, pin or unpin."""
        self._parking.on_wish(wish)

    def memory_reports(self) -> list[MemoryReport]:
        """What the broker is to be told since the last call."""
        return self._desk.take_reports()

    def stats(self) -> EngineStats:
        """Figures of this instant."""
        return EngineStats(
            waiting=self._turns.waiting,
            running=self._turns.begun,
            steps=self._steps,
            weights_bytes=self._parking.gpu_bytes,
            work_bytes=self._workspace.nbytes,
            borrowed_bytes=self._parking.borrowed_bytes,
            host_bytes=self._parking.host_bytes,
            parked=self._parking.where,
            stuck=self._parking.stuck,
            busy_s=self._busy_s,
        )

    def standings(self) -> list[Standing]:
        """How each live prompt stands."""
        turns = self._turns
        begun = [Standing(prompt_id, turns.service_s(prompt_id)) for prompt_id in turns.begun_ids()]
        waiting = [
            Standing(prompt_id, turns.service_s(prompt_id), position=position, next_slice_s=estimate_s)
            for position, (prompt_id, estimate_s) in enumerate(turns.waits(), start=1)
        ]
        return begun + waiting

    def close(self) -> None:
        """End every prompt and its thread, and give back memory other than the weights' own place."""
        for prompt_id in list(self._sizes):
            self.cancel(prompt_id)
        self._parking.close()
        self._workspace.close()

    def _may_begin(self) -> bool:
        """Whether the next waiting prompt has the memory to begin."""
        needed_bytes = self._needed_to_begin()
        return needed_bytes is not None and needed_bytes <= self._workspace.nbytes

    def _needed_to_begin(self) -> int | None:
        """What those begun and the next one need together; None if none may begin."""
        waiting = self._turns.next_to_begin
        if waiting is None or waiting == self._too_large:
            return None
        return self.curve.needed_bytes([self._sizes[prompt_id] for prompt_id in [waiting, *self._turns.begun_ids()]])

    def _make_room(self) -> None:
        needed_bytes = self._needed_to_begin()
        if needed_bytes is None:
            return
        try:
            self._workspace.want(needed_bytes)
        except NoRoomError as error:
            waiting = self._turns.next_to_begin
            if self._turns.begun or waiting is None:
                self._too_large = waiting
            else:
                self._refuse(waiting, f"The GPU has not the memory for this prompt: {error}. Ask for less, or later.")

    def _refuse(self, prompt_id: str, reason: str) -> None:
        logger.warning("prompt %s is refused: %s", prompt_id, reason, extra={PROMPT_ID: prompt_id})
        error = out_of_memory(reason)
        self._forget(prompt_id)
        self._refused.append(Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, error=error))

    def _advance(self, prompt_id: str) -> list[Output]:
        self._steps += 1
        outputs: list[Output] = []
        job = self._jobs.pop(prompt_id, None)
        if job is not None:
            self._gates[prompt_id] = self._gate(prompt_id, job)
            outputs.append(StateChanged(prompt_id=prompt_id, state=PromptState.RUNNING))
        arrival = self._timed_step(prompt_id)
        if isinstance(arrival, AtGate):
            outputs.append(Progress(prompt_id=prompt_id, step=arrival.step, steps=arrival.steps))
            return outputs
        service_s = self._turns.service_s(prompt_id)
        self._forget(prompt_id)
        if isinstance(arrival, Raised):
            outputs.append(self._failed(prompt_id, arrival.error, service_s))
        else:
            made = arrival.value
            outputs.append(Artifact(prompt_id=prompt_id, media_type=made.media_type, data=made.data))
            outputs.append(Finished(prompt_id=prompt_id, reason=FinishReason.STOP, service_s=service_s))
        return outputs

    def _timed_step(self, prompt_id: str) -> AtGate | Returned[Made] | Raised:
        begun_s = self._desk.clock.now_s()
        arrival = self._gates[prompt_id].open()
        # Kernels are launched ahead: unless waited for, another prompt would be charged for them, and one whose turn
        # comes would find the device busy for several steps more. A step is long beside the pause that this makes.
        self._device.finish_work()
        steps_left = arrival.steps - arrival.step if isinstance(arrival, AtGate) else 0
        took_s = self._desk.clock.now_s() - begun_s
        self._busy_s += took_s
        self._turns.served(prompt_id, took_s, steps_left)
        return arrival

    def _prepare(self, prompt: Prompt) -> Job:
        try:
            return self.model.prepare(prompt.request)
        except RequestError:
            raise
        except Exception as error:
            # Tokenizers and schedulers, which checks ask, are foreign code: what they stumble over fails alone.
            detail = self._describe_and_log(prompt.id, error)
            refusal = RequestError(detail.message, code=detail.code, status=detail.status)
            refusal.type = detail.type
            raise refusal from error

    def _gate(self, prompt_id: str, job: Job) -> Gate[Made]:
        random_state = RandomState(self.model.torch_device, job.seed)
        context: ThreadContext = random_state.turn
        return Gate(f"prompt-{prompt_id}", job.work, context)

    def _forget(self, prompt_id: str) -> None:
        self._turns.remove(prompt_id)
        self._too_large = None
        self._sizes.pop(prompt_id, None)
        self._jobs.pop(prompt_id, None)
        self._gates.pop(prompt_id, None)

    def _failed(self, prompt_id: str, error: BaseException, service_s: float) -> Finished:
        if isinstance(error, torch.AcceleratorError) or not isinstance(error, Exception):
            # After such an error every later call on the device fails too, and weights may be damaged.
            raise error
        detail = self._describe_and_log(prompt_id, error)
        return Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, service_s=service_s, error=detail)

    @staticmethod
    def _describe_and_log(prompt_id: str, error: Exception) -> ErrorDetail:
        detail = describe_failure(error)
        if detail.status >= 500:
            extra = {**error_of_prompt(error), PROMPT_ID: prompt_id}
            logger.error("prompt %s failed", prompt_id, extra=extra)
        return detail

"""The engine of every model whose prompts pass gates: images and sounds."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from aquahost.engines.gate import Arrive, AtGate, Gate, Raised, ThreadContext
from aquahost.engines.random_state import RandomState
from aquahost.engines.turns import Turns
from aquahost.errors import RequestError
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
    Request,
    StateChanged,
)
from aquahost.messages.wire import EngineStats, Footprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A finished image or sound."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A valid request, ready to run."""

    work: Callable[[Arrive], Made]
    """Raises errors.RequestError where only running it shows that the request can't be served."""
    seed: int
    """Start of the job's own random stream."""
    steps: int | None = None
    """Steps it will take, where that is known beforehand."""


class GatedModel(Protocol):
    """Loaded weights and the knowledge of what may be asked of them."""

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU."""
        ...

    @property
    def torch_device(self) -> torch.device:
        """Where it computes."""
        ...

    def prepare(self, request: Request) -> Job:
        """Check a request. Raises errors.InvalidRequestError naming the field at fault."""
        ...


class GatedEngine:
    """Advances image and audio prompts one denoising step (or audio token) at a time, up to `max_begun` in turns."""

    def __init__(self, model: GatedModel, *, max_begun: int) -> None:
        self._model = model
        self._turns = Turns(max_begun)
        self._jobs: dict[str, Job] = {}
        self._gates: dict[str, Gate[Made]] = {}
        self._steps = 0

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU, and its limits."""
        return self._model.footprint

    def submit(self, prompt: Prompt) -> Accepted:
        """Take a prompt. Raises errors.InvalidRequestError naming the field at fault, and nothing but RequestError."""
        job = self._prepare(prompt)
        self._jobs[prompt.id] = job
        self._turns.add(prompt.id)
        return Accepted(prompt_id=prompt.id, steps=job.steps)

    def cancel(self, prompt_id: str) -> None:
        """Forget a prompt; its thread has ended and its memory is free on return. Unknown ids are ignored."""
        gate = self._gates.get(prompt_id)
        if gate is not None:
            gate.cancel()
        self._forget(prompt_id)

    def has_work(self) -> bool:
        """Whether any prompt is live."""
        return bool(self._jobs or self._gates)

    def step(self) -> list[Output]:
        """One step of the prompt whose turn it is; raises only if the device itself has failed."""
        prompt_id = self._turns.take()
        if prompt_id is None:
            return []
        self._steps += 1
        outputs: list[Output] = []
        job = self._jobs.pop(prompt_id, None)
        if job is not None:
            self._gates[prompt_id] = self._gate(prompt_id, job)
            outputs.append(StateChanged(prompt_id=prompt_id, state=PromptState.RUNNING))
        arrival = self._gates[prompt_id].open()
        if isinstance(arrival, AtGate):
            outputs.append(Progress(prompt_id=prompt_id, step=arrival.step, steps=arrival.steps))
            return outputs
        self._forget(prompt_id)
        if isinstance(arrival, Raised):
            outputs.append(self._failed(prompt_id, arrival.error))
        else:
            made = arrival.value
            outputs.append(Artifact(prompt_id=prompt_id, media_type=made.media_type, data=made.data))
            outputs.append(Finished(prompt_id=prompt_id, reason=FinishReason.STOP))
        return outputs

    def stats(self) -> EngineStats:
        """Figures of this instant."""
        return EngineStats(waiting=self._turns.waiting, running=self._turns.begun, steps=self._steps)

    def close(self) -> None:
        """End every prompt and its thread."""
        for prompt_id in [*self._gates, *self._jobs]:
            self.cancel(prompt_id)

    def _prepare(self, prompt: Prompt) -> Job:
        try:
            return self._model.prepare(prompt.request)
        except RequestError:
            raise
        except Exception as error:
            # Tokenizers and schedulers, which checks ask, are foreign code: what they stumble over fails alone.
            detail = self._describe_and_log(prompt.id, error)
            refusal = RequestError(detail.message, code=detail.code, status=detail.status)
            refusal.type = detail.type
            raise refusal from error

    def _gate(self, prompt_id: str, job: Job) -> Gate[Made]:
        random_state = RandomState(self._model.torch_device, job.seed)
        context: ThreadContext = random_state.turn
        return Gate(f"prompt-{prompt_id}", job.work, context)

    def _forget(self, prompt_id: str) -> None:
        self._turns.remove(prompt_id)
        self._jobs.pop(prompt_id, None)
        self._gates.pop(prompt_id, None)

    def _failed(self, prompt_id: str, error: BaseException) -> Finished:
        if isinstance(error, torch.AcceleratorError) or not isinstance(error, Exception):
            # After such an error every later call on the device fails too, and weights may be damaged.
            raise error
        detail = self._describe_and_log(prompt_id, error)
        return Finished(prompt_id=prompt_id, reason=FinishReason.ERROR, error=detail)

    @staticmethod
    def _describe_and_log(prompt_id: str, error: Exception) -> ErrorDetail:
        detail = describe_failure(error)
        if detail.status >= 500:
            logger.error("prompt %s failed: %s", prompt_id, "".join(traceback.format_exception(error)))
        return detail


def describe_failure(error: Exception) -> ErrorDetail:
    """What a client is told about a prompt that failed alone."""
    if isinstance(error, RequestError):
        return ErrorDetail(
            message=error.message,
            status=error.status,
            type=error.type,
            param=error.param,
            code=error.code,
            retry_after_s=error.retry_after_s,
        )
    if _is_out_of_memory(error):
        return ErrorDetail(
            message="The GPU ran out of memory for this prompt. Ask for a smaller size, a shorter duration, "
            "or try again when fewer prompts run.",
            status=503,
            type="service_unavailable_error",
            code="out_of_memory",
        )
    return ErrorDetail(message=f"The model failed on this prompt: {type(error).__name__}: {error}")


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError; its text is the only sign.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)

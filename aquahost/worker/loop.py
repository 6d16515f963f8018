"""The worker's loop: messages in, one engine step, one message out."""

from __future__ import annotations

import logging

from aquahost.clock import Clock
from aquahost.engines.engine import Engine
from aquahost.errors import RequestError
from aquahost.log_format import PROMPT_ID
from aquahost.log_privacy import OF_PROMPT
from aquahost.messages.prompts import ErrorDetail, Finished, FinishReason, Output, Prompt
from aquahost.messages.wire import (
    Cancel,
    EngineStats,
    FromWorker,
    Outputs,
    Park,
    Pin,
    Standing,
    Stop,
    Submit,
    ToWorker,
    Wake,
)
from aquahost.worker.gpu_turns import Turns, Unshared
from aquahost.worker.heartbeat import Pulse
from aquahost.worker.link import DaemonLink
from aquahost.worker.step_log import StepLog

logger = logging.getLogger(__name__)

IDLE_WAIT_S = 0.5
STATS_PERIOD_S = 0.25
STANDINGS_SHARE = 0.01
"""Most of the time that standings may take, of the worker's and of the daemon's."""
STANDING_S = 2e-6
"""What one standing costs whoever encodes, decodes or keeps it, measured; what the engine takes to tell is timed."""


class WorkerLoop:
    """Drives one engine until told to stop.

    Each pass sees to the engine's memory, takes the messages there are, and does a step if one is due and it is this
    worker's turn on its GPU. Answers of a batch of submissions go out before the step, so that no refusal waits for
    one; then all that the step produced goes out as one message. A prompt that the engine cannot take fails alone; any
    other exception of the engine passes through: it is then broken.
    """

    def __init__(
        self, engine: Engine, link: DaemonLink, pulse: Pulse, clock: Clock, turns: Turns | None = None
    ) -> None:
        """`turns` on a GPU that other workers use too."""
        self._engine = engine
        self._link = link
        self._pulse = pulse
        self._clock = clock
        self._turns = turns or Unshared()
        self._stats_due_s = 0.0
        self._standings_due_s = 0.0
        self._idle_told = False
        self._stats: EngineStats | None = None
        self.step_log: StepLog | None = None
        """Told of each pass, where steps are logged."""

    def run(self) -> None:
        """Return once `Stop` has come."""
        while not self._pass():
            self._pulse.passes += 1
            if self.step_log is not None:
                self.step_log.passed()
        self._turns.rest()

    def _pass(self) -> bool:
        """One pass of the loop; returns whether to stop."""
        engine = self._engine
        engine.tend()
        self._report_memory()
        wait_s = min(engine.wait_s(), IDLE_WAIT_S) if self._idle_told or engine.has_work() else 0.0
        if engine.has_work():
            wait_s = max(wait_s, self._turns.wait_s())
        self._pulse.busy = False
        messages = self._link.receive(wait_s)
        self._pulse.busy = True
        if messages:
            answers: list[Output] = []
            for message in messages:
                if isinstance(message, Stop):
                    return True
                self._handle(message, answers)
            if answers:
                self._send(answers)
            self._report_memory()
        self._send(self._step_in_turn())
        return False

    def _step_in_turn(self) -> list[Output]:
        engine = self._engine
        if not engine.has_work():
            self._turns.rest()
        elif self._turns.take():
            outputs = engine.step()
            self._turns.stepped(more=engine.wait_s() <= 0)
            return outputs
        return []

    def _report_memory(self) -> None:
        for report in self._engine.memory_reports():
            self._link.send(report)

    def _handle(self, message: ToWorker, answers: list[Output]) -> None:
        self._idle_told = False
        match message:
            case Submit(prompt):
                answers.append(self._submit(prompt))
            case Cancel(prompt_id):
                self._engine.cancel(prompt_id)
            case Park() | Wake() | Pin():
                self._engine.on_wish(message)
            case Stop():
                return  # dealt with by the caller
            case _:
                self._engine.on_memory(message)

    def _submit(self, prompt: Prompt) -> Output:
        try:
            return self._engine.submit(prompt)
        except RequestError as error:
            detail = ErrorDetail(
                message=error.message,
                status=error.status,
                type=error.type,
                param=error.param,
                code=error.code,
                retry_after_s=error.retry_after_s,
            )
        except Exception as error:  # of a tokeniser, a template, a pipeline: one prompt must not end all others
            extra = {**OF_PROMPT, PROMPT_ID: prompt.id}
            logger.exception("prompt %s could not be taken", prompt.id, extra=extra)
            self._engine.cancel(prompt.id)
            detail = _fault(error, prompt.model)
        return Finished(prompt_id=prompt.id, reason=FinishReason.ERROR, error=detail)

    def _send(self, outputs: list[Output]) -> None:
        stats = self._stats_if_due()
        if outputs or stats is not None:
            message: FromWorker = Outputs(outputs, stats, self._standings_if_due() if stats is not None else None)
            self._link.send(message)

    def _stats_if_due(self) -> EngineStats | None:
        """Figures every `STATS_PERIOD_S`; at once when the engine falls idle, and from then on where they change."""
        now_s = self._clock.now_s()
        idle = not self._engine.has_work()
        newly_idle = idle and not self._idle_told
        if now_s < self._stats_due_s and not newly_idle:
            return None
        self._idle_told = idle
        self._stats_due_s = now_s + STATS_PERIOD_S
        stats = self._engine.stats()
        if idle and not newly_idle and stats == self._stats:
            return None
        self._stats = stats
        return stats

    def _standings_if_due(self) -> list[Standing] | None:
        """With every report of figures, but the more prompts there are, the more rarely."""
        begun_s = self._clock.now_s()
        if self._idle_told or begun_s < self._standings_due_s:
            return None
        standings = self._engine.standings()
        cost_s = self._clock.now_s() - begun_s + STANDING_S * len(standings)
        self._standings_due_s = begun_s + cost_s / STANDINGS_SHARE
        return standings or None


def _fault(error: Exception, model: str) -> ErrorDetail:
    """What a stranger may read of a fault of the code; the error's own text may hold someone's prompt."""
    # By name, since neither torch nor the device layer is imported for every engine.
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return ErrorDetail(
            message=f"{model} ran out of memory over this prompt; try a smaller one, or see `aquahost logs {model}`",
            status=503,
            type="service_unavailable_error",
            code="out_of_memory",
        )
    message = f"{model} could not take this prompt because of a fault of its own; see `aquahost logs {model}`"
    return ErrorDetail(message=message, code="internal_error")

"""A router whose workers only listen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aquahost.clock import VirtualClock
from aquahost.config.settings import Kind, ModelSettings
from aquahost.daemon.event_log import EventLog
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lifecycle import LoadRequested, WorkerReady
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.queue_bounds import QueueBounds
from aquahost.daemon.router import Router
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.messages.prompts import Finished, FinishReason, TextRequest
from aquahost.messages.wire import ToWorker

WORKER = 7


class Desk:
    """A router with two models, and what it says to workers."""

    def __init__(self, weights: Mapping[str, float] | None = None, bounds: QueueBounds | None = None) -> None:
        self.clock = VirtualClock(100.0)
        self.events = EventLog()
        self.sent: list[ToWorker] = []
        self.broken: Exception | None = None
        """What sending raises."""
        self.wanted: list[str] = []
        self.idle: list[str] = []
        self.models = {
            "chat": self._model("chat", ModelSettings(kind=Kind.LLM, source="x/y", max_queue=2)),
            "paint": self._model("paint", ModelSettings(kind=Kind.IMAGE, source="x/y")),
        }
        self.router = Router(
            self.models,
            send=self._send,
            want=self.wanted.append,
            idle=lambda model: self.idle.append(model.name),
            events=self.events,
            clock=self.clock,
            weights=weights,
            bounds=bounds,
        )

    def _model(self, name: str, settings: ModelSettings) -> HostedModel:
        model = HostedModel(name, settings, SupervisionLimits(), Path("nowhere"))
        model.supervision.handle(LoadRequested(), 0.0)
        model.supervision.handle(WorkerReady(), 0.0)
        model.worker_id = WORKER
        return model

    def _send(self, worker_id: int, message: ToWorker) -> bool:
        assert worker_id == WORKER
        if self.broken is not None:
            raise self.broken
        self.sent.append(message)
        return True

    def ask(self, model: str = "chat") -> PromptStream:
        return self.router.submit(model, TextRequest(text="hi"), "tester")

    def finish(self, stream: PromptStream) -> None:
        self.router.on_outputs(WORKER, [Finished(prompt_id=stream.prompt_id, reason=FinishReason.STOP)])

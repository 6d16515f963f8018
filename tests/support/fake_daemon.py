"""A daemon without workers: prompts are answered by a script, or by the test itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from aquahost.config.settings import Settings
from aquahost.daemon.reply_so_far import ReplySoFar
from aquahost.errors import InvalidRequestError, UnknownModelError, UnknownPromptError
from aquahost.events import Event, EventKind
from aquahost.keys.keyring import Keyring
from aquahost.messages.figures import LendingFigures, PromptFigures
from aquahost.messages.prompts import (
    Accepted,
    Artifact,
    AudioRequest,
    ErrorDetail,
    Finished,
    FinishReason,
    ImageRequest,
    Output,
    Progress,
    Request,
    Sampling,
    TextRequest,
    TokenChoice,
    TokenLogprob,
    Tokens,
)
from aquahost.messages.reloaded import Change, Effect, Reloaded
from aquahost.messages.snapshot import SCHEMA_VERSION, GpuView, ModelState, ModelView, Snapshot
from aquahost.messages.wire import EngineStats

PNG = b"\x89PNG\r\n\x1a\nnot really"
WAV = b"RIFF\x00\x00\x00\x00WAVEnot really"
WORDS = ("Hello", ", ", "wörld", "!")
INPUT_TOKENS = 7

Script = Callable[["FakeStream", Request], None]
"""Told of each prompt as it is submitted; feeds its stream now or later."""


class FakeStream:
    """One prompt's outputs, fed by a script."""

    def __init__(self, prompt_id: str, model: str, request: Request, tenant: str) -> None:
        self.prompt_id, self.model, self.request, self.tenant = prompt_id, model, request, tenant
        self.priority, self.notices, self.queue_length = 0, False, 1
        self.reply = ReplySoFar(prompt_id)
        self.ended = False
        self.cancelled = False
        self.abandoned = asyncio.Event()
        """Set when it is cancelled before its end."""
        self._pending: list[Output] = []
        self._filled = asyncio.Event()

    def feed(self, *outputs: Output) -> None:
        if self.ended:
            return
        self._pending += outputs
        for output in outputs:
            match output:
                case Tokens():
                    self.reply.add_text(output.text)
                case Progress():
                    self.reply.come_to(output)
                case Finished():
                    self.reply.end(output)
        self.ended = any(isinstance(output, Finished) for output in outputs)
        self._filled.set()

    def accept(self, steps: int | None = None) -> None:
        self.feed(Accepted(self.prompt_id, INPUT_TOKENS, steps))

    def say(self, text: str) -> None:
        self.feed(Tokens(self.prompt_id, text, [1]))

    def finish(self, reason: FinishReason = FinishReason.STOP, tokens: int = 0) -> None:
        self.feed(Finished(prompt_id=self.prompt_id, reason=reason, input_tokens=INPUT_TOKENS, output_tokens=tokens))

    def fail(self, detail: ErrorDetail) -> None:
        self.feed(Finished(prompt_id=self.prompt_id, reason=FinishReason.ERROR, error=detail))

    async def take(self) -> list[Output]:
        while not self._pending and not self.ended:
            self._filled.clear()
            await self._filled.wait()
        taken, self._pending = self._pending, []
        return taken

    def cancel(self) -> None:
        if not self.ended:
            self.cancelled = True
            self.finish(FinishReason.CANCELLED)
            self.abandoned.set()


class FakeConfiguration:
    """A models.yaml that a test changes."""

    def __init__(self) -> None:
        self.watchers: list[Callable[[Settings], None]] = []
        self.mistakes: str | None = None
        self.asked: list[Path | None] = []

    async def reload(self, path: Path | None) -> Reloaded:
        self.asked.append(path)
        if self.mistakes is not None:
            raise InvalidRequestError(self.mistakes, code="invalid_config")
        changes = [Change(key="models.chat.max_queue", change="1 → 2", effect=Effect.AT_ONCE)]
        return Reloaded(file=str(path or "models.yaml"), changes=changes)


class FakeDaemon:
    """Hosts "chat" and "org/chat" (llm), "paint" (image) and "sing" (audio)."""

    def __init__(self, settings: Settings | None = None, script: Script | None = None, *, max_queue: int = 256) -> None:
        self.settings = settings or fake_settings(max_queue)
        self.keyring = Keyring(self.settings)
        self.configuration = FakeConfiguration()
        self.configuration.watchers.append(self.keyring.use)
        self.script = script or answer
        self.refuse: Exception | None = None
        """Raised by `submit`."""
        self.streams: list[FakeStream] = []
        self.calls: list[tuple[object, ...]] = []
        self.problems: list[str] = []
        self.unready: list[str] = []
        self.lending = LendingFigures()
        self.prompts = PromptFigures()
        self.gpus: list[GpuView] = []
        self.stats: EngineStats | None = None
        """Of every model."""
        self.reason: str | None = None
        """Why workers died, in the snapshot."""
        self.logs = Path("/nonexistent")
        self.stopped = asyncio.Event()
        """Set to end the event stream, as when the daemon stops."""
        self._ids = itertools.count(1)

    @property
    def live(self) -> list[FakeStream]:
        return [stream for stream in self.streams if not stream.ended]

    def submit(
        self, model: str, request: Request, *, tenant: str, priority: int = 0, notices: bool = False
    ) -> FakeStream:
        if self.refuse is not None:
            raise self.refuse
        if model not in self.settings.models:
            raise UnknownModelError(f"no model is named {model!r}")
        kinds = {"llm": TextRequest, "image": ImageRequest, "audio": AudioRequest}
        if not isinstance(request, kinds[self.settings.models[model].kind.value]):
            raise InvalidRequestError(f"{model} does not take such prompts", param="model")
        stream = FakeStream(f"p{next(self._ids)}", model, request, tenant)
        stream.priority, stream.notices, stream.queue_length = priority, notices, len(self.live) + 1
        self.streams.append(stream)
        self.script(stream, request)
        return stream

    def cancel(self, prompt_id: str) -> None:
        for stream in self.live:
            if stream.prompt_id == prompt_id:
                stream.cancel()
                return
        raise UnknownPromptError(f"no live prompt has the id {prompt_id!r}")

    def load(self, name: str) -> None:
        self._require(name)
        self.calls.append(("load", name))

    async def unload(self, name: str, drain_s: float) -> None:
        self._require(name)
        self.calls.append(("unload", name, drain_s))

    def park(self, name: str) -> None:
        self._require(name)
        if self.refuse is not None:
            raise self.refuse
        self.calls.append(("park", name))

    def wake(self, name: str) -> None:
        self._require(name)
        self.calls.append(("wake", name))

    def pin(self, name: str, *, pinned: bool) -> None:
        self._require(name)
        self.calls.append(("pin" if pinned else "unpin", name))

    def prompt_output(self, prompt_id: str) -> AsyncGenerator[Tokens | Progress | Finished]:
        for stream in self.live:
            if stream.prompt_id == prompt_id:
                return stream.reply.follow()
        raise UnknownPromptError(f"no live prompt has the id {prompt_id!r}")

    async def drain(self) -> None:
        self.calls.append(("drain",))

    def request_shutdown(self, drain_s: float) -> None:
        self.calls.append(("shutdown", drain_s))

    def snapshot(self) -> Snapshot:
        return Snapshot(
            schema_version=SCHEMA_VERSION,
            at="2026-01-01T00:00:00Z",
            version="0",
            run_id="fake",
            pid=1,
            driver="emulated",
            uptime_s=1.0,
            draining=False,
            gpus=self.gpus,
            models=[self._view(name) for name in self.settings.models],
            prompts=[],
            leases=[],
            links=[],
            last_event_seq=2,
        )

    def lending_figures(self) -> LendingFigures:
        return self.lending

    def prompt_figures(self) -> PromptFigures:
        return self.prompts

    def health(self) -> list[str]:
        return self.problems

    def readiness(self) -> list[str]:
        return self.unready

    async def events(self, after_seq: int) -> AsyncIterator[Event]:
        for seq in range(after_seq + 1, 3):
            yield Event(seq=seq, at="2026-01-01T00:00:00Z", kind=EventKind.MODEL_READY, message="ready", model="chat")
        try:
            await self.stopped.wait()
        finally:
            self.calls.append(("events closed",))

    def log_path(self, model: str | None) -> Path:
        return self.logs / f"{model or 'daemon'}.log"

    def _require(self, name: str) -> None:
        if name not in self.settings.models:
            raise UnknownModelError(f"no model is named {name!r}")

    def _view(self, name: str) -> ModelView:
        return ModelView(
            name=name,
            kind=self.settings.models[name].kind.value,
            source="",
            state=ModelState.READY,
            gpu=0,
            pid=1,
            restarts=0,
            reason=self.reason,
            load=None,
            footprint=None,
            stats=self.stats,
            queue=0,
            max_queue=8,
            ready_for_s=1.0,
            resident_bytes=None,
        )


def fake_settings(max_queue: int = 256, **parts: object) -> Settings:
    """Settings with the fake's models; `parts` are `host` and `tenants`."""
    kinds = {"chat": "llm", "paint": "image", "sing": "audio", "org/chat": "llm"}
    models = {name: {"kind": kind, "source": "x", "max_queue": max_queue} for name, kind in kinds.items()}
    return Settings.model_validate({"models": models, **parts})


def answer(stream: FakeStream, request: Request) -> None:
    """Answer at once: WORDS to a text, PNG after two steps to an image, WAV after two steps to an audio prompt."""
    if isinstance(request, TextRequest):
        _answer_text(stream, request.sampling)
        return
    stream.accept(steps=2)
    stream.feed(*(Progress(stream.prompt_id, step, 2) for step in (1, 2)))
    image = isinstance(request, ImageRequest)
    kind = f"image/{request.format}" if image else f"audio/{request.format}"
    stream.feed(Artifact(stream.prompt_id, kind, PNG if image else WAV))
    stream.finish()


def _answer_text(stream: FakeStream, sampling: Sampling) -> None:
    stream.accept()
    words = WORDS[: sampling.max_tokens]
    for token_id, word in enumerate(words):
        logprobs = None
        if sampling.logprobs is not None:
            best = [TokenLogprob(token_id, word, -0.5), TokenLogprob(99, "other", float("-inf"))]
            logprobs = [TokenChoice(best[0], best[: sampling.logprobs])]
        stream.feed(Tokens(stream.prompt_id, word, [token_id], logprobs))
    stream.finish(FinishReason.STOP if len(words) == len(WORDS) else FinishReason.LENGTH, len(words))


def hang(stream: FakeStream, request: Request) -> None:
    """Accept, say one word, then nothing."""
    stream.accept(steps=9)
    if isinstance(request, TextRequest):
        stream.say("Hm")
    else:
        stream.feed(Progress(stream.prompt_id, 1, 9))

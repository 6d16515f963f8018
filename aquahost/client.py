"""The HTTP client of a running daemon that CLI and terminal UI share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from aquahost.config.paths import socket_path
from aquahost.connection import Connection, decoded, error_within
from aquahost.errors import ConfigError, InvalidRequestError, UnknownPromptError
from aquahost.events import Event
from aquahost.job_calls import JobCalls
from aquahost.messages.reloaded import Reloaded
from aquahost.messages.snapshot import Snapshot
from aquahost.streamed import Choice, MediaEvent, TextChunk, Usage, sse_data, sse_events

E = TypeVar("E", TextChunk, MediaEvent)

_ANSWER_TIMEOUT_S = 10.0
_RELOAD_TIMEOUT_S = 60.0
WATCH_SILENCE_S = 10.0
_PROMPT_ID = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Newly produced text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEnd:
    """A reply is complete."""

    finish_reason: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """An image or a sound has come one step further."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Media:
    """A finished image or sound, as the bytes of a file."""

    data: bytes


class _Stopping(msgspec.Struct, frozen=True):
    """The answer to a shutdown."""

    drain_s: float = 30.0


class Client:
    """Asks one daemon; every method raises UnreachableError if none answers, and RequestError with the API's words.

    Generators hold a connection: closing one that made a prompt cancels it.
    """

    def __init__(
        self,
        socket: Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> None:
        self._daemon = Connection(socket or socket_path(), transport, timeout_s)
        self.jobs = JobCalls(self._daemon)
        """What is asked about durable jobs."""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        self._daemon.close()

    def interrupt(self) -> None:
        """Make calls that wait in another thread end with UnreachableError; the daemon cancels prompts of theirs."""
        self._daemon.interrupt()

    # -- control ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything at this instant."""
        return decoded(self._daemon.ask("GET", "/control/snapshot").content, Snapshot)

    def events(self, after_seq: int = 0) -> Iterator[Event]:
        """Events numbered above `after_seq`, then new ones as they happen, until the daemon ends."""
        with self._daemon.stream("GET", "/control/events", params={"after": after_seq}) as reply:
            for data in sse_data(reply.iter_bytes()):
                yield decoded(data, Event)

    def watch(self, per_s: float = 4.0, after_seq: int = 0) -> Iterator[Snapshot | Event]:
        """A snapshot at once and then so many a second, fewer where they are read more slowly; among them the events
        numbered above `after_seq` and new ones as they happen. Until the daemon ends; one that says nothing for
        several snapshots' time, and at least `WATCH_SILENCE_S`, is taken to hang (UnreachableError)."""
        params, silence_s = {"per_s": per_s, "after": after_seq}, max(WATCH_SILENCE_S, 4 / per_s)
        with self._daemon.stream("GET", "/control/watch", params=params, silence_s=silence_s) as reply:
            for name, data in sse_events(reply.iter_bytes()):
                if name == b"snapshot":
                    yield decoded(data, Snapshot)
                elif name == b"event":
                    yield decoded(data, Event)

    def load(self, name: str) -> None:
        """Start loading a model; returns at once."""
        self._daemon.ask("POST", f"/control/models/{_quoted(name)}/load")

    def unload(self, name: str, drain_s: float) -> None:
        """Unload a model, giving its prompts `drain_s` to end; returns when it is unloaded, or at once."""
        self._daemon.ask(
            "POST", f"/control/models/{_quoted(name)}/unload", body={"drain_s": drain_s}, timeout_s=drain_s + 60
        )

    def park(self, name: str) -> None:
        """Have an idle model's weights leave its GPU; returns at once. Raises RequestError (409) if that cannot be now:
        the model is not loaded, has prompts, is pinned, or nobody lends."""
        self._daemon.ask("POST", f"/control/models/{_quoted(name)}/park")

    def wake(self, name: str) -> None:
        """Have a parked model's weights come back; returns at once."""
        self._daemon.ask("POST", f"/control/models/{_quoted(name)}/wake")

    def pin(self, name: str) -> None:
        """Never park a model until it is unpinned, whatever its entry says; one that is parked wakes."""
        self._daemon.ask("POST", f"/control/models/{_quoted(name)}/pin")

    def unpin(self, name: str) -> None:
        """Let a model be parked when it is idle, whatever its entry says."""
        self._daemon.ask("POST", f"/control/models/{_quoted(name)}/unpin")

    def cancel(self, prompt_id: str) -> None:
        """Cancel a live prompt; raises UnknownPromptError if there is none of that id."""
        self._daemon.ask("POST", f"/control/prompts/{_prompt(prompt_id)}/cancel")

    def prompt_output(self, prompt_id: str) -> Iterator[TextPiece | StepDone | TextEnd]:
        """What a live prompt of anybody's has produced so far and produces from now on, to its end; closing it does the
        prompt nothing. Raises UnknownPromptError if no prompt of that id is live."""
        kinds: dict[bytes, type[TextPiece | StepDone | TextEnd]]
        kinds = {b"text": TextPiece, b"step": StepDone, b"end": TextEnd}
        with self._daemon.stream("GET", f"/control/prompts/{_prompt(prompt_id)}/output") as reply:
            for name, data in sse_events(reply.iter_bytes()):
                if name in kinds:
                    yield decoded(data, kinds[name])

    def shutdown(self, drain_s: float | None) -> float:
        """Ask for the daemon's end; returns before it has ended, with the time that live prompts have (None: as
        models.yaml says)."""
        reply = self._daemon.ask("POST", "/control/shutdown", body={"drain_s": drain_s})
        return decoded(reply.content, _Stopping).drain_s

    def reload(self, file: Path | None = None) -> Reloaded:
        """Have the daemon read its models.yaml again, or another file from now on; models go on draining and loading
        after that. Raises ConfigError with a line for each mistake; then nothing has changed."""
        body = {} if file is None else {"file": str(file)}
        try:
            reply = self._daemon.ask("POST", "/control/reload", body=body, timeout_s=_RELOAD_TIMEOUT_S)
        except InvalidRequestError as error:
            if error.code == "invalid_config":
                raise ConfigError(error.message) from error
            raise
        return decoded(reply.content, Reloaded)

    def logs(self, model: str | None, *, lines: int, follow: bool) -> Iterator[str]:
        """The log's text from its last `lines` lines on; of the daemon where `model` is None."""
        params: dict[str, Any] = {"lines": lines, "follow": str(follow).lower()}
        if model is not None:
            params["model"] = _text(model)
        with self._daemon.stream("GET", "/control/logs", params=params) as reply:
            yield from reply.iter_text()

    # -- prompts ---------------------------------------------------------------------------------------------

    def chat(self, model: str, messages: list[dict[str, str]], **options: Any) -> Iterator[TextPiece | TextEnd]:
        """Stream a reply to a conversation. `options` are fields of the API's body; None leaves one out."""
        body = {"model": model, "messages": messages, **options}
        return self._reply("/v1/chat/completions", body, lambda choice: choice.delta.content)

    def complete(self, model: str, text: str, **options: Any) -> Iterator[TextPiece | TextEnd]:
        """Stream the continuation of `text`, without a chat template."""
        return self._reply("/v1/completions", {"model": model, "prompt": text, **options}, lambda choice: choice.text)

    def image(self, model: str, text: str, **options: Any) -> Iterator[StepDone | Media]:
        """Make images: progress, then each image's file."""
        body = {"model": model, "prompt": text, "stream": True, "response_format": "b64_json", **options}
        for event in self._events("/v1/images/generations", body, MediaEvent):
            if event.type == "image_generation.progress":
                yield StepDone(step=event.step, steps=event.steps)
            elif event.type == "image_generation.completed":
                yield Media(event.b64_json)

    def audio(self, model: str, text: str, **options: Any) -> Iterator[StepDone | Media]:
        """Make a sound: progress, then the sound's file."""
        sound = bytearray()
        body = {"model": model, "input": text, "stream_format": "sse", **options}
        for event in self._events("/v1/audio/speech", body, MediaEvent):
            match event.type:
                case "speech.audio.progress":
                    yield StepDone(step=event.step, steps=event.steps)
                case "speech.audio.delta":
                    sound += event.audio
                case "speech.audio.done":
                    yield Media(bytes(sound))

    def _reply(
        self, path: str, body: dict[str, Any], text_of: Callable[[Choice], str | None]
    ) -> Iterator[TextPiece | TextEnd]:
        reason = "stop"
        usage = Usage()
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        for chunk in self._events(path, streamed, TextChunk):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                if text := text_of(choice):
                    yield TextPiece(text)
        yield TextEnd(finish_reason=reason, input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)

    # -- pieces --------------------------------------------------------------------------------------------------

    def _events(self, path: str, body: dict[str, Any], kind: type[E]) -> Iterator[E]:
        """The events of a prompt; raises the error of one that fails on the way."""
        given = {key: value for key, value in body.items() if value is not None}
        with self._daemon.stream("POST", path, body=given) as reply:
            for data in sse_data(reply.iter_bytes()):
                if data == b"[DONE]":
                    return
                event = decoded(data, kind)
                if event.error is not None:
                    raise error_within(event.error)
                yield event


def _text(argument: str) -> str:
    """An argument as text; what it holds that is no UTF-8 (lone surrogates) becomes "?", which no name has."""
    return argument.encode(errors="replace").decode()


def _quoted(name: str) -> str:
    return quote(_text(name), safe="/:")


def _prompt(prompt_id: str) -> str:
    """An id as part of a path. Raises UnknownPromptError for what no prompt can have as its id."""
    if not _PROMPT_ID.fullmatch(prompt_id):
        raise UnknownPromptError(f"no live prompt {prompt_id!r}; see `aquahost queue`")
    return prompt_id

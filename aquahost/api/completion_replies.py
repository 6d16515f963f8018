"""Replies of POST /v1/completions: OpenAI's objects, and how outputs become them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from aquahost.api.chat_replies import finite_logprob
from aquahost.api.replies import json_response
from aquahost.api.usage import Usage, UsageMeter
from aquahost.messages.prompts import Finished, Output, Tokens


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of a reply's tokens, as parallel lists; offsets count characters of the reply's text."""

    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    text_offset: list[int] = []


class CompletionChoice(msgspec.Struct, frozen=True):
    """One reply, or what is new in it."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: str | None


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The reply that is not streamed, or one event of a stream."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | UnsetType | None = UNSET


class _LogprobsReader:
    """Turns one reply's outputs into parallel lists, keeping count of its characters."""

    def __init__(self) -> None:
        self._offset = 0

    def read(self, tokens: Tokens) -> CompletionLogprobs:
        """Log-probabilities of these tokens."""
        logprobs = CompletionLogprobs()
        if tokens.logprobs is None:
            self._offset += len(tokens.text)
        for choice in tokens.logprobs or ():
            logprobs.tokens.append(choice.chosen.text)
            logprobs.token_logprobs.append(finite_logprob(choice.chosen.logprob))
            logprobs.top_logprobs.append({token.text: finite_logprob(token.logprob) for token in choice.top})
            logprobs.text_offset.append(self._offset)
            self._offset += len(choice.chosen.text)
        return logprobs


class CompletionCollector:
    """Gathers replies that are not streamed: `n` for each of `prompts`."""

    def __init__(self, *, reply_id: str, created: int, model: str, prompts: int, n: int, logprobs: bool) -> None:
        self._id, self._created, self._model = reply_id, created, model
        count = prompts * n
        self._texts: list[list[str]] = [[] for _ in range(count)]
        self._readers = [_LogprobsReader() for _ in range(count)]
        self._logprobs = [CompletionLogprobs() for _ in range(count)] if logprobs else None
        self._reasons = ["stop"] * count
        self._meter = UsageMeter(n)

    def add(self, index: int, outputs: list[Output]) -> None:
        """Outputs of reply number `index`."""
        for output in outputs:
            if isinstance(output, Tokens):
                self._texts[index].append(output.text)
                if self._logprobs is not None:
                    new, all_ = self._readers[index].read(output), self._logprobs[index]
                    all_.tokens.extend(new.tokens)
                    all_.token_logprobs.extend(new.token_logprobs)
                    all_.top_logprobs.extend(new.top_logprobs)
                    all_.text_offset.extend(new.text_offset)
            elif isinstance(output, Finished):
                self._reasons[index] = output.reason.value
                self._meter.add(index, output)

    def response(self) -> Response:
        """The completion."""
        choices = [
            CompletionChoice(
                "".join(texts),
                index,
                self._logprobs[index] if self._logprobs is not None else None,
                self._reasons[index],
            )
            for index, texts in enumerate(self._texts)
        ]
        return json_response(
            Completion(
                id=self._id, created=self._created, model=self._model, choices=choices, usage=self._meter.usage()
            )
        )


class CompletionEncoder:
    """Writes a stream's events."""

    def __init__(self, *, reply_id: str, created: int, model: str, prompts: int, n: int, include_usage: bool) -> None:
        self._id, self._created, self._model = reply_id, created, model
        self._no_usage: UnsetType | None = None if include_usage else UNSET
        self._readers = [_LogprobsReader() for _ in range(prompts * n)]
        self._meter = UsageMeter(n)
        self._json = msgspec.json.Encoder()

    def start(self) -> bytes:
        """Nothing: each event stands for itself."""
        return b""

    def encode(self, index: int, outputs: list[Output]) -> bytes:
        """An event for each step's tokens, and one for the end."""
        events = []
        for output in outputs:
            if isinstance(output, Tokens):
                logprobs = self._readers[index].read(output)
                if output.text or output.logprobs:
                    choice = CompletionChoice(output.text, index, logprobs if output.logprobs else None, None)
                    events.append(self._chunk([choice], self._no_usage))
            elif isinstance(output, Finished):
                self._meter.add(index, output)
                choice = CompletionChoice("", index, None, output.reason.value)
                events.append(self._chunk([choice], self._no_usage))
        return b"".join(events)

    def end(self) -> bytes:
        """Usage, if asked for, and the end mark."""
        usage = b"" if self._no_usage is UNSET else self._chunk([], self._meter.usage())
        return usage + b"data: [DONE]\n\n"

    def _chunk(self, choices: list[CompletionChoice], usage: Usage | UnsetType | None) -> bytes:
        reply = Completion(id=self._id, created=self._created, model=self._model, choices=choices, usage=usage)
        return b"data: " + self._json.encode(reply) + b"\n\n"

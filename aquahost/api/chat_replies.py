"""Replies of POST /v1/chat/completions: OpenAI's objects, and how outputs become them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from aquahost.api.replies import json_response
from aquahost.api.usage import Usage, UsageMeter
from aquahost.messages.prompts import Finished, Output, TokenChoice, TokenLogprob, Tokens

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON lacks."""


class TopToken(msgspec.Struct, frozen=True):
    """A likely token."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(msgspec.Struct, frozen=True):
    """The chosen token, and the likeliest ones."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopToken]


class ChatLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of a reply's tokens."""

    content: list[TokenLogprobs]
    refusal: None = None


class ReplyMessage(msgspec.Struct, frozen=True):
    """The model's message."""

    content: str
    role: str = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One of `n` replies."""

    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The reply that is not streamed."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(msgspec.Struct, frozen=True):
    """What is new in a message."""

    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """What is new in one of `n` replies."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: str | None = None


class ChatChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    """Null in every event but the last, if asked for at all."""


class ChatCollector:
    """Gathers a reply that is not streamed."""

    def __init__(self, *, reply_id: str, created: int, model: str, n: int, logprobs: bool) -> None:
        self._id, self._created, self._model = reply_id, created, model
        self._texts: list[list[str]] = [[] for _ in range(n)]
        self._logprobs: list[list[TokenLogprobs]] | None = [[] for _ in range(n)] if logprobs else None
        self._reasons = ["stop"] * n
        self._meter = UsageMeter(n)

    def add(self, index: int, outputs: list[Output]) -> None:
        """Outputs of reply number `index`."""
        for output in outputs:
            if isinstance(output, Tokens):
                self._texts[index].append(output.text)
                if self._logprobs is not None:
                    self._logprobs[index] += token_logprobs(output.logprobs)
            elif isinstance(output, Finished):
                self._reasons[index] = output.reason.value
                self._meter.add(index, output)

    def response(self) -> Response:
        """The chat completion."""
        choices = [
            ChatChoice(
                index,
                ReplyMessage("".join(texts)),
                ChatLogprobs(self._logprobs[index]) if self._logprobs is not None else None,
                self._reasons[index],
            )
            for index, texts in enumerate(self._texts)
        ]
        return json_response(
            ChatCompletion(
                id=self._id, created=self._created, model=self._model, choices=choices, usage=self._meter.usage()
            )
        )


class ChatEncoder:
    """Writes a stream's events."""

    def __init__(self, *, reply_id: str, created: int, model: str, n: int, include_usage: bool) -> None:
        self._id, self._created, self._model, self._n = reply_id, created, model, n
        self._no_usage: UnsetType | None = None if include_usage else UNSET
        self._meter = UsageMeter(n)
        self._json = msgspec.json.Encoder()

    def start(self) -> bytes:
        """The role, once for each reply."""
        return b"".join(self._event(ChunkChoice(index, Delta("assistant", ""))) for index in range(self._n))

    def encode(self, index: int, outputs: list[Output]) -> bytes:
        """An event for each step's tokens, and one for the end."""
        events = []
        for output in outputs:
            if isinstance(output, Tokens):
                if output.logprobs is not None:
                    logprobs = ChatLogprobs(token_logprobs(output.logprobs))
                    events.append(self._event(ChunkChoice(index, Delta(content=output.text), logprobs)))
                elif output.text:
                    events.append(self._event(ChunkChoice(index, Delta(content=output.text))))
            elif isinstance(output, Finished):
                self._meter.add(index, output)
                events.append(self._event(ChunkChoice(index, Delta(), None, output.reason.value)))
        return b"".join(events)

    def end(self) -> bytes:
        """Usage, if asked for, and the end mark."""
        usage = b"" if self._no_usage is UNSET else self._chunk([], self._meter.usage())
        return usage + b"data: [DONE]\n\n"

    def _event(self, choice: ChunkChoice) -> bytes:
        return self._chunk([choice], self._no_usage)

    def _chunk(self, choices: list[ChunkChoice], usage: Usage | UnsetType | None) -> bytes:
        chunk = ChatChunk(id=self._id, created=self._created, model=self._model, choices=choices, usage=usage)
        return b"data: " + self._json.encode(chunk) + b"\n\n"


def finite_logprob(logprob: float) -> float:
    """`logprob`, or the number that stands for minus infinity."""
    return max(logprob, LOWEST_LOGPROB)


def token_logprobs(choices: list[TokenChoice] | None) -> list[TokenLogprobs]:
    """Log-probabilities in OpenAI's form."""
    return [
        TokenLogprobs(
            choice.chosen.text,
            finite_logprob(choice.chosen.logprob),
            list(choice.chosen.text.encode()),
            [_top_token(token) for token in choice.top],
        )
        for choice in choices or ()
    ]


def _top_token(token: TokenLogprob) -> TopToken:
    return TopToken(token.text, finite_logprob(token.logprob), list(token.text.encode()))

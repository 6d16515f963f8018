"""The two ways to answer with prompts: one JSON (or binary) reply at the end, or server-sent events as they come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aquahost.api.contract import Daemon
from aquahost.api.errors import error_body, error_response
from aquahost.api.keep_alive import KEEP_ALIVE_S, KeepAlive
from aquahost.api.prompt_headers import prompt_headers
from aquahost.api.prompts import Batch, ClientGoneError, PromptGroup, while_connected
from aquahost.api.rate_limits import Allowance
from aquahost.errors import InvalidRequestError, RequestError
from aquahost.messages.prompts import Notice, Output, Request

SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
"""For every event stream; the last one keeps nginx from buffering it."""

_json = msgspec.json.Encoder()


def json_response(value: Any, status: int = 200) -> Response:
    """`value` (a msgspec Struct, or plain data) as an HTTP reply."""
    return Response(_json.encode(value), status, media_type="application/json")


def sse_event(name: str, value: Any) -> bytes:
    """`value` as a named server-sent event."""
    return b"event: " + name.encode("ascii") + b"\ndata: " + _json.encode(value) + b"\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Prompts to submit for one request."""

    daemon: Daemon
    model: str
    requests: Sequence[Request]
    tenant: str
    allowance: Allowance | None = None
    """The tenant's, of which the prompts take their tokens; None is without limits."""
    count_param: str = "n"
    """The request's field that makes them so many."""
    priority: int = 0
    comments: bool = False
    """If they are streamed, tell in comments how they stand."""

    def submit(self, *, streamed: bool) -> PromptGroup:
        """Submit them; raises RequestError. More than are ever queued at once is no matter of waiting."""
        model, tenant = self.daemon.settings.models.get(self.model), self.daemon.settings.tenants.get(self.tenant)
        self._must_fit(model.max_queue if model else None, f"the queue of '{self.model}' holds")
        self._must_fit(tenant.max_queue if tenant else None, "your queue holds")
        return PromptGroup(
            self.daemon,
            self.model,
            self.requests,
            self.tenant,
            reservation=self.allowance.reserve(self.requests) if self.allowance else None,
            priority=self.priority,
            notices=streamed and self.comments,
        )

    def _must_fit(self, most: int | None, queue: str) -> None:
        if most is not None and len(self.requests) > most:
            raise InvalidRequestError(
                f"'{self.count_param}' makes {len(self.requests)} prompts, but {queue} {most}; send fewer at once",
                param=self.count_param,
                code="too_many_prompts",
            )


class Collector(Protocol):
    """Takes in the outputs of a request's prompts, then makes the reply."""

    def add(self, index: int, outputs: list[Output]) -> None:
        """Outputs of prompt number `index`."""
        ...

    def response(self) -> Response:
        """The whole reply; asked for once, at the end."""
        ...


class EventEncoder(Protocol):
    """Turns outputs of a request's prompts into server-sent events."""

    def start(self) -> bytes:
        """Events sent once every prompt has been accepted."""
        ...

    def encode(self, index: int, outputs: list[Output]) -> bytes:
        """Events for outputs of prompt number `index`."""
        ...

    def end(self) -> bytes:
        """Events that close a stream which did not fail."""
        ...


class _PromptResponse(Response, ABC):
    """Submits the prompts when the server runs it, so that they live exactly as long as this call.

    An ASGI application of its own: Starlette neither cancels handlers of clients that leave, nor streams without a
    task group per reply.
    """

    streamed: ClassVar[bool]

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self._ask = ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._ask.submit(streamed=self.streamed) as group:
            try:
                await while_connected(self._answer(group, scope, receive, send), receive)
                return
            except ClientGoneError:
                return
            except RequestError as error:
                failure = error_response(error, prompt_headers(group))
            finally:
                await group.drop()
        await failure(scope, receive, send)

    @abstractmethod
    async def _answer(self, group: PromptGroup, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply; ended at once when the client leaves."""


class CollectedResponse(_PromptResponse):
    """One reply once all prompts have ended."""

    streamed = False

    def __init__(self, ask: Ask, collect: Callable[[PromptGroup], Collector]) -> None:
        super().__init__(ask)
        self._collect = collect

    async def _answer(self, group: PromptGroup, scope: Scope, receive: Receive, send: Send) -> None:
        response = await collected(group, self._collect(group))
        response.headers.update(prompt_headers(group))
        await response(scope, receive, send)


async def collected(group: PromptGroup, collector: Collector) -> Response:
    """The whole reply of prompts, once all have ended. Raises the RequestError of one that fails."""
    batch = await group.first()
    while True:
        for index, outputs in batch:
            collector.add(index, outputs)
        if not group.live:
            return collector.response()
        batch = await group.next()


class EventStreamResponse(_PromptResponse):
    """Server-sent events. Fails with a proper status until all prompts are accepted, then with an error event."""

    streamed = True

    def __init__(
        self, ask: Ask, encoder: Callable[[PromptGroup], EventEncoder], *, keep_alive_s: float = KEEP_ALIVE_S
    ) -> None:
        super().__init__(ask)
        self._encoder = encoder
        self._keep_alive_s = keep_alive_s

    async def _answer(self, group: PromptGroup, scope: Scope, receive: Receive, send: Send) -> None:
        encoder, ids = self._encoder(group), group.ids
        batch = await group.first()
        await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS + _raw(prompt_headers(group))})
        async with KeepAlive(send, self._keep_alive_s) as body:
            try:
                await body.send(encoder.start() + _encode(encoder, batch, ids))
                while group.live:
                    await body.send(_encode(encoder, await group.next(), ids))
                last = encoder.end()
            except RequestError as error:
                last = b"data: " + error_body(error) + b"\n\n"
        await send({"type": "http.response.body", "body": last, "more_body": False})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def _encode(encoder: EventEncoder, batch: Batch, ids: Sequence[str]) -> bytes:
    if len(batch) == 1:
        return _events(encoder, *batch[0], ids)
    return b"".join([_events(encoder, index, outputs, ids) for index, outputs in batch])


def _events(encoder: EventEncoder, index: int, outputs: list[Output], ids: Sequence[str]) -> bytes:
    """A prompt's outputs as events; notices as comments, before them, and with its id if the request has several."""
    events = encoder.encode(index, outputs)
    notices = [output.text for output in outputs if type(output) is Notice]
    if not notices:
        return events
    start = f": {ids[index]}: " if len(ids) > 1 else ": "
    return b"".join([*((start + text + "\n\n").encode() for text in notices), events])

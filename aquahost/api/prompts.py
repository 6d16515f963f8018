"""Live prompts on behalf of an HTTP request: submitted together, and never outliving it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from starlette.types import Receive

from aquahost.api.contract import Daemon, PromptStream
from aquahost.api.errors import CancelledPromptError, failed_prompt
from aquahost.api.rate_limits import Reservation
from aquahost.errors import RequestError
from aquahost.messages.prompts import Artifact, Finished, FinishReason, Output, Request, Tokens

T = TypeVar("T")

Batch = list[tuple[int, list[Output]]]
"""What has come since the last batch: outputs, by the prompt's index in its request."""


class ClientGoneError(Exception):
    """The client has closed its connection; there is nobody to answer."""


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Await `work`, but stop it at once and raise ClientGoneError when the client disconnects.

    To be called once the request's body has been read, as it reads on to notice the disconnect.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class PromptGroup:
    """The prompts of one request. A context manager: whatever happens inside, all have ended when it is left."""

    def __init__(
        self,
        daemon: Daemon,
        model: str,
        requests: Sequence[Request],
        tenant: str,
        *,
        reservation: Reservation | None = None,
        priority: int = 0,
        notices: bool = False,
    ) -> None:
        """Submit `requests`; raises the daemon's RequestError, having cancelled those already submitted.

        What they use of `reservation` is settled when the group is left.
        """
        self.reservation = reservation or Reservation()
        self._streams: list[PromptStream] = []
        self._feeders: list[asyncio.Task[None]] = []
        self._arrivals: asyncio.Queue[tuple[int, list[Output]]] = asyncio.Queue()
        try:
            for request in requests:
                stream = daemon.submit(model, request, tenant=tenant, priority=priority, notices=notices)
                self._streams.append(stream)
        except BaseException:
            self.cancel()
            self.reservation.settle()
            raise
        self._live = set(range(len(self._streams)))
        self._failure: RequestError | None = None
        """Of the first prompt that ended badly, until it is raised: what came along with it goes first."""

    def __enter__(self) -> PromptGroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        self.reservation.settle()

    @property
    def id(self) -> str:
        """The first prompt's id."""
        return self._streams[0].prompt_id

    @property
    def ids(self) -> list[str]:
        """Every prompt's id, in order."""
        return [stream.prompt_id for stream in self._streams]

    @property
    def queue_length(self) -> int:
        """Live prompts of the model once the last of these was submitted."""
        return self._streams[-1].queue_length

    @property
    def live(self) -> bool:
        """Whether more outputs, or a failure, are to come."""
        return bool(self._live) or self._failure is not None

    def cancel(self) -> None:
        """Drop every prompt that has not ended."""
        for feeder in self._feeders:
            feeder.cancel()
        for stream in self._streams:
            stream.cancel()

    async def first(self) -> Batch:
        """Wait for every prompt's first output; raises the error of a prompt that failed before it made anything."""
        batch: Batch = []
        for index, stream in enumerate(self._streams):
            before = self._failure
            outputs = self._sifted(index, await stream.take())
            if (
                self._failure is not before
                and self._failure is not None
                and not any(isinstance(output, Tokens | Artifact) for output in outputs)
            ):
                raise self._failure
            batch.append((index, outputs))
        return batch

    async def next(self) -> Batch:
        """Wait for more outputs. Raises the error of a prompt that failed or was cancelled by someone else, once
        whatever it made before has been returned."""
        if self._failure is not None:
            raise self._failure
        if len(self._streams) == 1:
            return [(0, self._sifted(0, await self._streams[0].take()))]
        if not self._feeders:
            self._feeders = [asyncio.create_task(self._feed(index)) for index in self._live]
        arrivals = [await self._arrivals.get()]
        while not self._arrivals.empty():
            arrivals.append(self._arrivals.get_nowait())
        return [(index, self._sifted(index, outputs)) for index, outputs in arrivals]

    async def drop(self) -> None:
        """As `cancel`, and count what they had made that nobody took; waits for nothing, since all have ended."""
        self.cancel()
        while not self._arrivals.empty():
            index, outputs = self._arrivals.get_nowait()
            self._sifted(index, outputs)
        for index in list(self._live):
            self._sifted(index, await self._streams[index].take())

    async def _feed(self, index: int) -> None:
        while True:
            outputs = await self._streams[index].take()
            self._arrivals.put_nowait((index, outputs))
            if not outputs or isinstance(outputs[-1], Finished):
                return

    def _sifted(self, index: int, outputs: list[Output]) -> list[Output]:
        """Note a prompt's end; a bad one is kept for later and taken out."""
        self.reservation.note(outputs)
        last = outputs[-1] if outputs else None
        if last is not None and not isinstance(last, Finished):
            return outputs
        self._live.discard(index)
        if last is None or last.reason is FinishReason.CANCELLED:
            failure: RequestError = CancelledPromptError("the prompt was cancelled", code="prompt_cancelled")
        elif last.reason is FinishReason.ERROR:
            failure = failed_prompt(last.error)
        else:
            return outputs
        self._failure = self._failure or failure
        return outputs[:-1]

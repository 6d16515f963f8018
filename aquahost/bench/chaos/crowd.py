"""Clients that ask without pause, come again when told to, and check every reply."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from aquahost.bench.chaos.asks import Ask
from aquahost.bench.chaos.exchange import CutOffError, FailedError, RefusedError, exchange
from aquahost.bench.chaos.host import ChaosHost

PATIENCE_S = 180.0
"""A prompt without an end is stuck so long after it was sent, or after its worker or the daemon was killed last: while
they are killed, an image may have to begin again and again."""
_LONGEST_WAIT_S = 0.5
"""A refused client comes again after this at the latest: it is there to keep the load up."""


@dataclass(slots=True)
class Tally:
    """What became of the prompts."""

    answered: int = 0
    streams: int = 0
    """Of them streamed."""
    sent_again: int = 0
    """Requests that were cut off because the daemon was killed, and were sent again."""
    refused: int = 0
    """Requests that were told to come again."""
    survivors: int = 0
    """Streams that were told of their worker's death and went on to their end."""
    lost: list[str] = field(default_factory=list)
    """Each with what became of it; so too for the next two."""
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    latencies_s: list[tuple[float, float]] = field(default_factory=list)
    """When each answered prompt's end came, and how long after it was sent; both in seconds, by the monotonic clock."""


class Crowd:
    """Sends requests from many clients at once until `over` is set; each then ends with the request it has."""

    def __init__(self, host: ChaosHost, asks: Sequence[Ask], expected: Sequence[str], clients: int) -> None:
        """`expected`: what each request must be answered with."""
        self._host, self._asks, self._expected, self._clients = host, asks, expected, clients
        self.tally = Tally()
        self.over = asyncio.Event()
        self.resumed_s: list[float] = []
        """From a worker's death to the next piece of each stream that it cut."""
        self.killed_s: dict[str, float] = {}
        """When each model's worker was killed last, alone or with the daemon; kept by whoever kills."""
        self._turns: Iterator[int] = itertools.cycle(range(len(asks)))

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask while the context lasts, and then until each client has the reply that it waits for. If what is
        done in it fails, clients just leave."""
        clients = asyncio.create_task(self.run())
        try:
            yield
        except BaseException:
            clients.cancel()
            raise
        self.over.set()
        await clients

    async def run(self) -> None:
        """Ask until it is over."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=self._clients)
        async with (
            httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self._clients):
                group.create_task(self._client(http))

    async def _client(self, http: httpx.AsyncClient) -> None:
        while not self.over.is_set():
            number = next(self._turns)
            ask = self._asks[number]
            began_s = time.monotonic()
            try:
                said = await self._patiently(http, ask, began_s)
            except TimeoutError:
                self.tally.stuck.append(f"{ask.model}: no end after {PATIENCE_S:.0f} s; {await self._views(ask.model)}")
                continue
            except (FailedError, CutOffError) as error:
                self.tally.lost.append(f"{ask.model}: {error}")
                continue
            now_s = time.monotonic()
            self.tally.answered += 1
            self.tally.streams += ask.streamed
            self.tally.latencies_s.append((now_s, now_s - began_s))
            if said != self._expected[number]:
                self.tally.wrong.append(f"{ask.model}: expected {self._expected[number][:300]} and got {said[:300]}")

    async def _patiently(self, http: httpx.AsyncClient, ask: Ask, began_s: float) -> str:
        """The reply. Raises TimeoutError for a prompt that is stuck."""
        asking = asyncio.create_task(self._until_answered(http, ask))
        try:
            while not asking.done():
                calm_s = time.monotonic() - max(began_s, self.killed_s.get(ask.model, began_s))
                if calm_s > PATIENCE_S:
                    raise TimeoutError
                await asyncio.wait((asking,), timeout=PATIENCE_S - calm_s + 0.1)
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _views(self, model: str) -> str:
        """What the daemon says of a model and its prompts."""
        try:
            snapshot = await self._host.snapshot()
        except httpx.HTTPError as error:
            return f"the daemon does not answer: {type(error).__name__}"
        states = [f"{one.name} is {one.state}" for one in snapshot.models if one.name == model]
        prompts = [
            f"{one.id} {one.state} at {one.output_tokens or one.steps_done}, {one.interruptions} times interrupted"
            for one in snapshot.prompts
            if one.model == model
        ]
        return "; ".join([*states, *prompts])

    async def _until_answered(self, http: httpx.AsyncClient, ask: Ask) -> str:
        while True:
            await self._host.up.wait()
            deaths = self._host.deaths
            stream = _Stream(self, ask.model)
            try:
                said = await exchange(http, self._host.url, ask, stream.on_life)
            except RefusedError as refused:
                self.tally.refused += 1
                await asyncio.sleep(min(refused.retry_after_s, _LONGEST_WAIT_S))
            except CutOffError:
                if self._host.deaths == deaths:
                    raise  # the daemon lives, and has no business to hang up
                self.tally.sent_again += 1
            else:
                self.tally.survivors += stream.was_stranded
                return said


class _Stream:
    """Notes how long a stream is silent over its worker's death."""

    def __init__(self, crowd: Crowd, model: str) -> None:
        self._crowd, self._model = crowd, model
        self._waits = False
        self.was_stranded = False

    def on_life(self, stranded: bool) -> None:
        """A piece of it has come."""
        if stranded:
            self._waits = self.was_stranded = True
        elif self._waits and self._model in self._crowd.killed_s:
            self._waits = False
            self._crowd.resumed_s.append(time.monotonic() - self._crowd.killed_s[self._model])


async def expected_replies(host: ChaosHost, asks: Sequence[Ask], at_once: int = 1) -> list[str]:
    """What each request is answered with while nothing is disturbed, so many at the same time.

    Raises FailedError, CutOffError or RefusedError where that does not go well: then there is nothing to compare to.
    """
    places = asyncio.Semaphore(at_once)

    async def one(http: httpx.AsyncClient, ask: Ask) -> str:
        async with places:
            return await exchange(http, host.url, ask, lambda _: None)

    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as http:
        return await asyncio.gather(*(one(http, ask) for ask in asks))

"""Durable jobs beside the clients that wait: queued all the while, and looked at in the end."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import msgspec

from aquahost.bench.chaos.asks import Ask
from aquahost.bench.chaos.crowd import PATIENCE_S
from aquahost.bench.chaos.exchange import said_by
from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.report import Check, none_of
from aquahost.messages.jobs import JobList, JobState, JobView

_EACH_S = 0.3
_LOOK_S = 0.5
_MOST_LISTED = 10_000


class DurableJobs:
    """Queues a job every now and then, of the requests whose replies are known."""

    def __init__(self, host: ChaosHost, asks: Sequence[Ask], expected: Sequence[str]) -> None:
        """`expected`: what each request must be answered with."""
        self._host, self._asks, self._expected = host, asks, expected
        self._queued: dict[str, int] = {}
        """Which request each job is, by the ids that the daemon has given."""
        self._unsure = 0
        """Jobs whose answer was cut off: they may be kept or not."""

    @property
    def count(self) -> int:
        """Jobs that the daemon has promised to do."""
        return len(self._queued)

    @asynccontextmanager
    async def queueing(self) -> AsyncIterator[None]:
        """Queue jobs while the context lasts."""
        queueing = asyncio.create_task(self._queue())
        try:
            yield
        finally:
            queueing.cancel()
            await asyncio.gather(queueing, return_exceptions=True)

    async def checks(self) -> list[Check]:
        """Wait until all have ended, and look at each."""
        jobs = await self._ended()
        found = {job.id: job for job in jobs}
        lost = [f"{job} is {_state(found.get(job))}" for job in self._queued if not _is_done(found.get(job))]
        wrong = [job for job in self._queued if _is_done(found.get(job)) and not await self._is_right(job)]
        twice = [name for name, times in Counter(job.id for job in jobs).items() if times > 1]
        more = len(jobs) - len(self._queued) - self._unsure
        results = self._host.job_results()
        done = sum(job.state is JobState.COMPLETED for job in jobs)
        return [
            none_of("jobs lost", lost),
            none_of("wrong job results", wrong),
            Check(name="duplicate job results", found=len(twice) + max(0, more) + abs(results - done), details=twice),
        ]

    async def _queue(self) -> None:
        for at in itertools.cycle(range(len(self._asks))):
            await self._host.up.wait()
            ask = self._asks[at]
            try:
                reply = await self._host.post("/control/jobs", {"endpoint": ask.path, "body": dict(ask.body)})
                self._queued[msgspec.json.decode(reply.content, type=JobView).id] = at
            except httpx.HTTPError:
                self._unsure += 1
            await asyncio.sleep(_EACH_S)

    async def _ended(self) -> list[JobView]:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            reply = await self._host.get(f"/control/jobs?limit={_MOST_LISTED}")
            jobs = msgspec.json.decode(reply.content, type=JobList).jobs
            if all(job.state.has_ended for job in jobs) or time.monotonic() > deadline_s:
                return jobs
            await asyncio.sleep(_LOOK_S)

    async def _is_right(self, job: str) -> bool:
        reply = await self._host.get(f"/control/jobs/{job}/result")
        return said_by(json.loads(reply.content)) == self._expected[self._queued[job]]


def _is_done(job: JobView | None) -> bool:
    return job is not None and job.state is JobState.COMPLETED


def _state(job: JobView | None) -> str:
    if job is None:
        return "gone"
    return f"{job.state}: {job.error.message}" if job.error is not None else str(job.state)

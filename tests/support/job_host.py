"""A desk of jobs over the fake daemon, served to OpenAI's client in the test's own event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from api_server import serving
from aquahost.api.app import build_app
from aquahost.api.batch_lines import BatchInput, written_line
from aquahost.api.job_requests import JobAnswers
from aquahost.api.rate_limits import RateLimits
from aquahost.clock import Clock, SystemClock
from aquahost.daemon.jobs.desk import JobDesk
from aquahost.daemon.queue_bounds import jobs_at_once
from fake_daemon import FakeDaemon

PATIENCE_S = 20.0


@dataclass
class JobHost:
    """A served desk."""

    daemon: FakeDaemon
    desk: JobDesk
    url: str
    client: openai.AsyncOpenAI
    faults: list[str]

    def as_tenant(self, key: str) -> openai.AsyncOpenAI:
        """A client with another key."""
        return self.client.with_options(api_key=key)


def a_desk(
    folder: Path, daemon: FakeDaemon, faults: list[str], clock: Clock | None = None, rates: RateLimits | None = None
) -> JobDesk:
    """A desk in that folder whose jobs the daemon answers."""
    return JobDesk(
        folder,
        daemon.settings.jobs,
        execute=JobAnswers(daemon, rates),
        at_once=lambda model: jobs_at_once(daemon.settings, model),
        read_input=BatchInput(lambda: daemon.settings),
        write_line=written_line,
        clock=clock or SystemClock(),
        faults=faults,
    )


@asynccontextmanager
async def job_host(
    folder: Path, daemon: FakeDaemon, clock: Clock | None = None, rates: RateLimits | None = None
) -> AsyncIterator[JobHost]:
    """A desk that runs, and its API."""
    faults: list[str] = []
    desk = a_desk(folder, daemon, faults, clock, rates)
    desk.start()
    try:
        async with (
            serving(build_app(daemon, desk)) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any-key-at-all", max_retries=0) as client,
        ):
            yield JobHost(daemon, desk, url, client, faults)
    finally:
        await desk.close()
        assert faults == []


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "what was waited for did not come"
        await asyncio.sleep(0.005)


async def batch_ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    """The batch, once it has ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "cancelled", "expired"):
            return batch
        assert time.monotonic() < deadline_s, f"the batch is still {batch.status}"
        await asyncio.sleep(0.02)


async def post_form(url: str, body: bytes, boundary: str = "x", **headers: str) -> httpx.Response:
    """An upload made by hand."""
    content_type = {"content-type": f"multipart/form-data; boundary={boundary}"}
    async with httpx.AsyncClient() as plain:
        return await plain.post(f"{url}/v1/files", content=body, headers={**content_type, **headers})

"""A long-silent event stream, kept alive."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Send

KEEP_ALIVE_S = 15.0
"""Silence after which a comment is sent; proxies close connections that are silent for 30 s to 60 s."""
COMMENT = b": still here\n\n"
"""Which every reader of event streams skips."""


class KeepAlive:
    """The body of an event stream. A context manager: in it, a comment is sent after each `period_s` of silence."""

    def __init__(self, send: Send, period_s: float) -> None:
        self._send, self._period_s = send, period_s
        self._loop = asyncio.get_running_loop()
        self._sent_s = self._loop.time()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> KeepAlive:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def send(self, events: bytes) -> None:
        """Send whole events; nothing where there are none."""
        if events:
            self._sent_s = self._loop.time()
            await self._send({"type": "http.response.body", "body": events, "more_body": True})

    async def _keep(self) -> None:
        while True:
            silent_s = self._loop.time() - self._sent_s
            if silent_s < self._period_s:
                await asyncio.sleep(self._period_s - silent_s)
            else:
                await self.send(COMMENT)

"""Coroutines that wait for something to change."""

from __future__ import annotations

import asyncio


class Waiters:
    """Those that wait at present; whoever is woken looks for itself what has changed."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self) -> None:
        """Until the next `wake`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    def wake(self) -> None:
        """Let all go on that wait now."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

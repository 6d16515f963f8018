"""What a submitter holds of its prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aquahost.messages.prompts import Finished, Output


class PromptStream:
    """The outputs of one prompt, in order, for one reader. The first is Accepted or Finished, the last Finished.

    What the reader has not taken is kept; a prompt's own length bounds it.
    """

    __slots__ = ("_cancel", "_ended", "_pending", "_waiter", "prompt_id", "queue_length")

    def __init__(self, prompt_id: str, cancel: Callable[[str], None], *, queue_length: int = 1) -> None:
        self.prompt_id = prompt_id
        self.queue_length = queue_length
        """Live prompts of its model when it came, itself included."""
        self._cancel = cancel
        self._pending: list[Output] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    async def take(self) -> list[Output]:
        """All outputs not yet taken, at least one; empty once `Finished` has been taken."""
        if not self._pending:
            if self._ended:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = self._pending
        self._pending = []
        return taken

    def cancel(self) -> None:
        """End the prompt and free its memory; its stream gets Finished(CANCELLED). Does nothing once it has ended."""
        if not self._ended:
            self._cancel(self.prompt_id)

    def feed(self, output: Output) -> None:
        """Add an output; for the router alone. Nothing may follow a `Finished`."""
        self._pending.append(output)
        if type(output) is Finished:
            self._ended = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

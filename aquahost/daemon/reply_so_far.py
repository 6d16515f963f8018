"""What a live prompt has produced so far, for whoever of the machine's owners looks on."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from aquahost.daemon.waiters import Waiters
from aquahost.messages.prompts import Finished, Progress, Tokens

Seen = Tokens | Progress | Finished
"""What a watcher is told: text that may be of several tokens (without their ids), how far it has come, and its end."""


class ReplySoFar:
    """The text of one reply, or how far an image or a sound has come, kept once for any number of watchers.

    A watcher reads from where it stands, so one that is slow or gone costs the prompt nothing and is owed nothing: it
    is told less often, of more at once. The bytes of images and sounds are not kept.
    """

    __slots__ = ("_end", "_progress", "_prompt_id", "_text", "_watchers")

    def __init__(self, prompt_id: str) -> None:
        self._prompt_id = prompt_id
        self._text = bytearray()
        """UTF-8, which takes a fraction of what the pieces would."""
        self._progress: Progress | None = None
        self._end: Finished | None = None
        self._watchers = Waiters()

    def add_text(self, text: str) -> None:
        """The reply grows."""
        self._text += text.encode("utf-8", "replace")
        self._watchers.wake()

    def come_to(self, progress: Progress) -> None:
        """A step is done."""
        self._progress = progress
        self._watchers.wake()

    def end(self, finished: Finished) -> None:
        """Nothing more comes."""
        self._end = finished
        self._watchers.wake()

    async def follow(self) -> AsyncGenerator[Seen]:
        """All there is, then what comes, to the end."""
        told_bytes, told_progress = 0, None
        while True:
            if told_bytes < len(self._text):
                text = self._text[told_bytes:].decode()  # whole pieces, so never a part of a character
                told_bytes = len(self._text)
                yield Tokens(self._prompt_id, text, [])
            elif self._progress is not told_progress:
                told_progress = self._progress
                assert told_progress is not None
                yield told_progress
            elif self._end is not None:
                yield self._end
                return
            else:
                await self._watchers.wait()

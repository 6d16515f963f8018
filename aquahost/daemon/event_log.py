"""The daemon's recent events, and those who follow them."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator

from aquahost.daemon.waiters import Waiters
from aquahost.daemon.wall_time import utc_now
from aquahost.events import Event, EventKind
from aquahost.log_format import MODEL, PROMPT_ID

logger = logging.getLogger(__name__)

KEPT = 2048


class EventLog:
    """The last `kept` events. Followers read at their own pace; one that falls behind by more misses the oldest."""

    def __init__(self, kept: int = KEPT) -> None:
        self._events: deque[Event] = deque(maxlen=kept)
        self._last_seq = 0
        self._followers = Waiters()
        self._closed = False

    @property
    def last_seq(self) -> int:
        """Number of the newest event; 0 before the first."""
        return self._last_seq

    def add(self, kind: EventKind, message: str, *, model: str | None = None, prompt_id: str | None = None) -> Event:
        """Number, keep and spread an event."""
        self._last_seq += 1
        event = Event(seq=self._last_seq, at=utc_now(), kind=kind, message=message, model=model, prompt_id=prompt_id)
        self._events.append(event)
        level = logging.DEBUG if prompt_id and kind is not EventKind.PROMPT_FAILED else logging.INFO
        logger.log(level, "%s", message, extra={MODEL: model, PROMPT_ID: prompt_id})
        self._followers.wake()
        return event

    def since(self, after_seq: int) -> list[Event]:
        """The kept events numbered above `after_seq`, oldest first."""
        new = min(max(0, self._last_seq - after_seq), len(self._events))
        return list(itertools.islice(self._events, len(self._events) - new, None))

    async def follow(self, after_seq: int) -> AsyncIterator[Event]:
        """The kept events numbered above `after_seq`, then each new one, until the log is closed."""
        while True:
            for event in self.since(after_seq):
                after_seq = event.seq
                yield event
            if self._last_seq > after_seq:
                continue
            if self._closed:
                return
            await self._followers.wait()

    def close(self) -> None:
        """End all followers once they have read what there is."""
        self._closed = True
        self._followers.wake()

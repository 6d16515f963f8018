"""What every source of snapshots offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from textual.message import Message

Post = Callable[[Message], object]
"""Takes a message from any thread."""


class Feed(Protocol):
    """Tells snapshots and events from a thread of its own."""

    @property
    def title(self) -> str:
        """Where it comes from, if that is not the daemon: "replay of burst.jsonl"; else empty."""

    def run(self, post: Post) -> None:
        """Post what comes until `stop`; blocks."""

    def pause(self, paused: bool) -> None:
        """Post no snapshots for a while; a recording stands still meanwhile."""

    def stop(self) -> None:
        """Let `run` return soon; from any thread."""

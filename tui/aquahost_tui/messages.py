"""What threads tell the app. A snapshot in the queue is dropped for a newer one: late screens are worse than few."""

from __future__ import annotations

from textual.message import Message

from aquahost.events import Event
from aquahost.messages.snapshot import Snapshot


class SnapshotCame(Message):
    """The daemon's state, `at_s` on the feed's clock."""

    def __init__(self, snapshot: Snapshot, at_s: float) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.at_s = at_s

    def can_replace(self, message: Message) -> bool:
        """A newer one says all that this one says."""
        return isinstance(message, SnapshotCame)


class EventCame(Message):
    """Something happened."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


class FeedBroke(Message):
    """Nothing comes for the moment, and why; the feed keeps trying."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def can_replace(self, message: Message) -> bool:
        """Only the newest reason matters."""
        return isinstance(message, FeedBroke)


class FeedEnded(Message):
    """A recording has been played to its end, or cannot be played further, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class FeedFailed(Message):
    """What was to be done with the news cannot be done, so that watching on makes no sense, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class Steered(Message):
    """Something was done, or could not be; in words."""

    def __init__(self, words: str, *, failed: bool) -> None:
        super().__init__()
        self.words = words
        self.failed = failed

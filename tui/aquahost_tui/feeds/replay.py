"""A recording, played as if it happened now."""

from __future__ import annotations

import threading
from itertools import chain
from pathlib import Path

from aquahost.clock import Clock
from aquahost_tui.feeds.feed import Post
from aquahost_tui.feeds.recording import Line, RecordingError, read_recording, title_of
from aquahost_tui.messages import EventCame, FeedEnded, SnapshotCame

_PAUSE_LOOK_S = 0.05


class ReplayFeed:
    """Plays a recording once, `speed` times as fast as it was made."""

    def __init__(self, path: Path, clock: Clock, *, speed: float = 1.0) -> None:
        """Raises RecordingError if it cannot be read up to its first snapshot."""
        self.title = title_of(path)
        self._clock = clock
        self._speed = speed
        self._paused = False
        self._stopped = threading.Event()
        self._lines = read_recording(path)
        self._begin: list[Line] = []
        for line in self._lines:
            self._begin.append(line)
            if line.snapshot is not None:
                break

    def run(self, post: Post) -> None:
        """Post each line when its time has come."""
        try:
            self._play(post)
        except RecordingError as error:
            post(FeedEnded(str(error)))
        else:
            post(FeedEnded("the recording has ended"))

    def pause(self, paused: bool) -> None:
        """Stand still, or go on from there."""
        self._paused = paused

    def stop(self) -> None:
        """Stop playing."""
        self._stopped.set()

    def _play(self, post: Post) -> None:
        due_s = self._clock.now_s()
        shown_s = 0.0
        for line in chain(self._begin, self._lines):
            due_s += max(line.t - shown_s, 0.0) / self._speed
            shown_s = line.t
            due_s += self._wait_until(due_s)
            if self._stopped.is_set():
                return
            if line.snapshot is not None:
                post(SnapshotCame(line.snapshot, line.t))
            elif line.event is not None:
                post(EventCame(line.event))

    def _wait_until(self, due_s: float) -> float:
        """Wait, and say how long it stood still meanwhile."""
        still_s = 0.0
        while not self._stopped.is_set():
            if self._paused:
                self._stopped.wait(_PAUSE_LOOK_S)
                still_s += _PAUSE_LOOK_S
                continue
            left_s = due_s + still_s - self._clock.now_s()
            if left_s <= 0:
                break
            self._stopped.wait(min(left_s, _PAUSE_LOOK_S))
        return still_s

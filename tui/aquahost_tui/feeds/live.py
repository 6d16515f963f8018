"""A running daemon's snapshots and events."""

from __future__ import annotations

import threading
from collections.abc import Callable

from aquahost.client import Client
from aquahost.clock import Clock
from aquahost.errors import AquahostError
from aquahost.messages.snapshot import Snapshot
from aquahost_tui.feeds.feed import Post
from aquahost_tui.messages import EventCame, FeedBroke, SnapshotCame

RETRY_S = 1.0


class LiveFeed:
    """One subscription to a daemon, begun again for as long as it takes whenever it breaks."""

    title = ""

    def __init__(self, make_client: Callable[[], Client], clock: Clock, *, per_s: float) -> None:
        self._make_client = make_client
        self._clock = clock
        self._per_s = per_s
        self._paused = False
        self._stopped = threading.Event()
        self._run_id = ""
        self._last_seq = 0

    def run(self, post: Post) -> None:
        """Follow the daemon until `stop`, and tell of every time that it cannot be reached."""
        while not self._stopped.is_set():
            try:
                self._follow(post)
                post(FeedBroke("the daemon has ended the connection"))
            except AquahostError as error:
                post(FeedBroke(str(error)))
            except Exception as error:  # without a word the screens would stand still for ever
                post(FeedBroke(f"{type(error).__name__}: {error}"))
            self._stopped.wait(RETRY_S)

    def pause(self, paused: bool) -> None:
        """Leave out snapshots, but for each connection's first; events still come."""
        self._paused = paused

    def stop(self) -> None:
        """Takes effect with the next message."""
        self._stopped.set()

    def _follow(self, post: Post) -> None:
        with self._make_client() as client:
            # A daemon that was started anew numbers its events from 1 again.
            if client.snapshot().run_id != self._run_id:
                self._last_seq = 0
            is_first = True
            for news in client.watch(self._per_s, self._last_seq):
                if self._stopped.is_set():
                    return
                if not isinstance(news, Snapshot):
                    self._last_seq = news.seq
                    post(EventCame(news))
                elif is_first or not self._paused:
                    self._run_id, is_first = news.run_id, False
                    post(SnapshotCame(news, self._clock.now_s()))

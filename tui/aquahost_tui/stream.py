"""Reading what a daemon streams without ever making the UI wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from aquahost.client import Client
from aquahost.clock import Clock
from aquahost.errors import AquahostError

T = TypeVar("T")

Pause = Callable[[float], bool]
"""Waits so many seconds; True at once when the stream is stopped meanwhile."""


class Stream(Generic[T]):
    """One stream, read by a daemon thread into a list that the UI empties when it draws.

    No thread of Textual's: the app's end would wait for one that reads.
    """

    def __init__(
        self,
        clients: Callable[[], AbstractContextManager[Client]],
        read: Callable[[Client, Pause], Iterable[T]],
        clock: Clock,
    ) -> None:
        """Begins at once: `read` is given a client of `clients`, in the thread. Nothing is read past `stop`."""
        self._clients = clients
        self._read = read
        self._clock = clock
        self._news: deque[tuple[float, T]] = deque()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._trouble: str | None = None
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def take(self) -> list[tuple[float, T]]:
        """What has come since the last call, each with its time on the clock."""
        return [self._news.popleft() for _ in range(len(self._news))]

    @property
    def is_over(self) -> bool:
        """Whether it has ended and all of it was taken."""
        return self._ended.is_set() and not self._news

    @property
    def trouble(self) -> str | None:
        """Why it broke off; None if it did not, or was stopped."""
        return self._trouble

    def stop(self) -> None:
        """End it, whatever it waits for; the daemon cancels a prompt that was sent with it. Does not wait."""
        with self._lock:
            self._stopped.set()
            if self._client is not None:
                self._client.interrupt()

    def _run(self) -> None:
        try:
            with self._clients() as client:
                with self._lock:
                    self._client = client
                if not self._stopped.is_set():
                    self._follow(client)
        except AquahostError as error:
            self._fail(str(error))
        except Exception as error:  # a thread's exception would be seen by nobody, and the stream pass for ended
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self._client = None
            self._ended.set()

    def _fail(self, reason: str) -> None:
        if not self._stopped.is_set():
            self._trouble = reason

    def _follow(self, client: Client) -> None:
        for item in self._read(client, self._stopped.wait):
            if self._stopped.is_set():
                return
            self._news.append((self._clock.now_s(), item))

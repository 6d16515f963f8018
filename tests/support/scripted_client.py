"""A client without a daemon: every stream gives what the test says, and may then wait until it is cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from aquahost.errors import UnreachableError
from aquahost.messages.snapshot import Snapshot
from made_host import snapshot

_LONGEST_S = 20.0


class ScriptedClient:
    """`items` come from each stream in turn; an exception among them is raised. `hangs`: nothing comes after them."""

    def __init__(self, *items: Any, hangs: bool = False) -> None:
        self.items = items
        self.hangs = hangs
        self.asked: list[tuple[Any, ...]] = []
        self.snapshots: list[Snapshot] = []
        """Given one after the other, the last again and again; else the made-up host as it is at a tick."""
        self.waiting = 0
        """Threads that wait in a stream now."""
        self._cuts: list[threading.Event] = []

    def interrupt(self) -> None:
        for cut in self._cuts:
            cut.set()

    def snapshot(self) -> Snapshot:
        if not self.snapshots:
            return snapshot(27)
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]

    def load(self, name: str) -> None:
        self.asked.append(("load", name))

    def prompt_output(self, prompt_id: str) -> Iterator[Any]:
        self.asked.append(("output", prompt_id))
        yield from self._stream()

    def chat(self, model: str, messages: list[dict[str, str]], **options: Any) -> Iterator[Any]:
        self.asked.append(("chat", model, messages))
        yield from self._stream()

    def image(self, model: str, text: str, **options: Any) -> Iterator[Any]:
        self.asked.append(("image", model, text, options))
        yield from self._stream()

    def audio(self, model: str, text: str, **options: Any) -> Iterator[Any]:
        self.asked.append(("audio", model, text, options))
        yield from self._stream()

    def _stream(self) -> Iterator[Any]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item
        if self.hangs:
            cut = threading.Event()
            self._cuts.append(cut)
            self.waiting += 1
            try:
                cut.wait(_LONGEST_S)
            finally:
                self.waiting -= 1
            raise UnreachableError("the connection was cut")

"""The seam between a worker's loop and the model it hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aquahost.messages.memory import MemoryInstruction, MemoryReport
from aquahost.messages.prompts import Accepted, Output, Prompt
from aquahost.messages.wire import EngineStats, Footprint, LoadProgress, ParkingWish, Standing

ReportProgress = Callable[[LoadProgress], None]
"""Told how far a load has come; cheap to call often."""


class Engine(Protocol):
    """A loaded model that advances its prompts step by step.

    All methods are called from one thread, the worker's loop. A step is one forward pass of a language model, or
    one step of one image or audio prompt. A prompt lives from `submit` until its `Finished` is returned by `step`,
    or until `cancel` returns.
    """

    @property
    def footprint(self) -> Footprint:
        """The model's share of its GPU, and its limits."""
        ...

    def submit(self, prompt: Prompt) -> Accepted:
        """Take a prompt. Raises `errors.RequestError` (naming the field) if it is invalid or could never fit."""
        ...

    def cancel(self, prompt_id: str) -> None:
        """Forget a prompt and free its memory before returning, or at its next step; unknown ids are ignored.

        No `Finished` is returned for it afterwards.
        """
        ...

    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        ...

    def step(self) -> list[Output]:
        """Do one step and return what it produced, `Finished` of ended prompts included.

        A prompt that fails alone is returned as Finished(ERROR); an exception means the engine itself is broken
        and its process must end.
        """
        ...

    def tend(self) -> None:
        """See to what goes on beside steps: copies under way, memory to give back, parking. Called before every step,
        and at least twice a second; takes microseconds where there is nothing to do."""
        ...

    def wait_s(self) -> float:
        """How long the loop may wait for messages before it calls `tend` and `step` again: 0 where a step is due, a
        millisecond while copies are under way, longer where only time or a message can change anything."""
        ...

    def on_memory(self, message: MemoryInstruction) -> None:
        """The broker's answer, or its wish."""
        ...

    def on_wish(self, wish: ParkingWish) -> None:
        """Someone wants the model parked, woken, pinned or unpinned."""
        ...

    def memory_reports(self) -> list[MemoryReport]:
        """What the broker is to be told since the last call, in this order."""
        ...

    def stats(self) -> EngineStats:
        """Figures of this instant; takes microseconds."""
        ...

    def standings(self) -> list[Standing]:
        """How each live prompt stands with the scheduler, at this instant."""
        ...

    def close(self) -> None:
        """End every prompt and give back all memory and threads."""
        ...

"""The prompts of one model whose worker is gone: who goes on with the next one, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from aquahost.daemon.live_prompt import LivePrompt


class Stranded:
    """Live prompts that wait for the next worker, and those that are suspected of having ended the last one.

    After an end that a prompt can have brought about, all that were aboard are suspects: they are let in one at a time,
    the next only once the last has got beyond where it stood. If the worker ends again meanwhile, the one on trial is
    guilty if it was alone aboard; else it is tried first, alone, the next time. So a prompt fails alone, and no other
    for its sake.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, LivePrompt] = {}
        self._suspects: dict[str, int] = {}
        """How far each had got when the worker ended, by id."""
        self._on_trial: str | None = None
        self._accused: str | None = None
        """On trial in company when the worker ended; tried first."""
        self._awaits_sign = False
        """The one on trial has ended, perhaps not for the worker, which may still be at work on it."""

    @property
    def holds_back(self) -> bool:
        """Whether somebody waits, or is on trial."""
        return bool(self._waiting) or self._on_trial is not None or self._awaits_sign

    @property
    def has_suspects(self) -> bool:
        """Whether prompts are let in one at a time."""
        return bool(self._suspects)

    def strand(self, aboard: Iterable[LivePrompt], *, blamed: bool) -> str | None:
        """The worker that had `aboard` is gone; returns the id of the guilty one, which is not kept, if there is one.

        `blamed`: whether a prompt can have been the cause.
        """
        stranded = {live.id: live for live in aboard}
        tried, self._on_trial, self._awaits_sign = self._on_trial, None, False
        guilty = None
        if blamed and tried is not None and set(stranded) == {tried}:
            guilty = tried
            stranded.clear()
            self._suspects.pop(guilty, None)
        elif blamed:
            self._accused = tried
            self._suspects |= {live.id: live.progress for live in stranded.values()}
        self._waiting = {live.id: live for live in sorted([*stranded.values(), *self._waiting.values()], key=_arrival)}
        return guilty

    def discard(self, prompt_id: str) -> None:
        """A prompt has ended, wherever it is."""
        self._waiting.pop(prompt_id, None)
        self._suspects.pop(prompt_id, None)
        if prompt_id == self._on_trial:
            self._on_trial, self._awaits_sign = None, True

    def note(self, live: LivePrompt) -> None:
        """A prompt got on; if it is on trial, it may be cleared by that."""
        if live.id == self._on_trial and live.progress > self._suspects[live.id]:
            del self._suspects[live.id]
            self._on_trial = None

    def heard(self) -> None:
        """The worker has said something, so that it is at work on nothing that it was told to drop before."""
        self._awaits_sign = False

    def take(self) -> list[LivePrompt]:
        """Those that are to be handed to the worker now: everyone, but only one while there are suspects."""
        if self._on_trial is not None or self._awaits_sign:
            return []
        suspects = [prompt_id for prompt_id in self._waiting if prompt_id in self._suspects]
        if not suspects:
            taken, self._waiting = list(self._waiting.values()), {}
            return taken
        self._on_trial = self._accused if self._accused in suspects else suspects[0]
        assert self._on_trial is not None
        self._accused = None
        return [self._waiting.pop(self._on_trial)]


def _arrival(live: LivePrompt) -> float:
    return live.created_s

"""The prompts of one model whose worker is gone: who goes on with the next one, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from aquahost.daemon.live_prompt import LivePrompt


class Stranded:
    """Live prompts that no worker has, in the order in which they will be handed to the next one.

    A prompt may be what ended the worker. After an end that could be so, those that it had are suspects: they are let
    in one at a time, the next only once the last has got beyond where it stood. Whoever is on trial when the worker
    ends again is *guilty*, so that it fails alone and the others go on.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, LivePrompt] = {}
        self._suspects: dict[str, int] = {}
        """How far each had got when the worker ended, by id."""
        self._on_trial: str | None = None

    def strand(self, aboard: Iterable[LivePrompt], *, blamed: bool) -> str | None:
        """The worker that had `aboard` is gone; returns the id of the guilty one, which is not kept, if there is one.

        `blamed`: whether a prompt can have been the cause.
        """
        guilty = self._on_trial if blamed else None
        self._on_trial = None
        stranded = {live.id: live for live in aboard if live.id != guilty}
        if guilty is not None:
            self._suspects.pop(guilty, None)
        elif blamed:
            self._suspects |= {live.id: live.progress for live in stranded.values()}
        self._waiting = dict(sorted({**stranded, **self._waiting}.items(), key=lambda item: item[1].created_s))
        return guilty

    def add(self, live: LivePrompt) -> None:
        """A new prompt waits behind all others."""
        self._waiting[live.id] = live

    def discard(self, prompt_id: str) -> None:
        """A prompt has ended, wherever it is."""
        self._waiting.pop(prompt_id, None)
        self._suspects.pop(prompt_id, None)
        if prompt_id == self._on_trial:
            self._on_trial = None

    def note(self, live: LivePrompt) -> None:
        """A prompt got on; if it is on trial, it may be cleared by that."""
        if live.id == self._on_trial and live.progress > self._suspects[live.id]:
            self.discard(live.id)

    def take(self) -> list[LivePrompt]:
        """Those that are to be handed to the worker now: everyone, but only one while there are suspects."""
        if self._on_trial is not None:
            return []
        suspect = next((live for prompt_id, live in self._waiting.items() if prompt_id in self._suspects), None)
        if suspect is None:
            taken, self._waiting = list(self._waiting.values()), {}
            return taken
        self._on_trial = suspect.id
        return [self._waiting.pop(suspect.id)]

    @property
    def holds_back(self) -> bool:
        """Whether a new prompt must wait here."""
        return bool(self._waiting) or self._on_trial is not None

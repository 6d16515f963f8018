"""What the API needs of the daemon."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from aquahost.config.settings import Settings
from aquahost.events import Event
from aquahost.keys.keyring import Keyring
from aquahost.messages.figures import LendingFigures, PromptFigures
from aquahost.messages.prompts import Finished, Output, Progress, Request, Tokens
from aquahost.messages.reloaded import Reloaded
from aquahost.messages.snapshot import Snapshot


class PromptStream(Protocol):
    """A live prompt's outputs, for one reader."""

    @property
    def prompt_id(self) -> str:
        """The id shown in the queue; `Daemon.cancel` takes it."""
        ...

    @property
    def queue_length(self) -> int:
        """Live prompts of its model when it was submitted, itself included."""
        ...

    async def take(self) -> list[Output]:
        """Wait for at least one output and return all there are; [] after the end.

        The first output is Accepted or Finished(ERROR), the last one Finished.
        """
        ...

    def cancel(self) -> None:
        """Drop the prompt; does nothing if it has ended."""
        ...


class Configuration(Protocol):
    """models.yaml, as far as it holds, and its reloads."""

    @property
    def watchers(self) -> list[Callable[[Settings], None]]:
        """Called with the settings whenever a reload has changed them; to be added to."""
        ...

    async def reload(self, path: Path | None) -> Reloaded:
        """Read the file again, or another one, and begin to do as it says; raises InvalidRequestError (code
        "invalid_config") with a line for each mistake."""
        ...


class Daemon(Protocol):
    """The hosted models. Methods raise `errors.RequestError`, which the API renders."""

    @property
    def settings(self) -> Settings:
        """What models.yaml says, as far as it holds; a reload changes it."""
        ...

    @property
    def configuration(self) -> Configuration:
        """Where that came from, and can be read again."""
        ...

    @property
    def keyring(self) -> Keyring:
        """Whose a key is."""
        ...

    def submit(
        self, model: str, request: Request, *, tenant: str, priority: int = 0, notices: bool = False
    ) -> PromptStream:
        """Queue a prompt; with `notices` its stream contains a Notice whenever it stands otherwise than before."""
        ...

    def cancel(self, prompt_id: str) -> None:
        """Cancel a live prompt; raises UnknownPromptError."""
        ...

    def prompt_output(self, prompt_id: str) -> AsyncGenerator[Tokens | Progress | Finished]:
        """What a live prompt has produced so far, then what it produces, to its end; raises UnknownPromptError."""
        ...

    def load(self, name: str) -> None:
        """Start loading a model; does nothing if it is loaded or loading."""
        ...

    async def unload(self, name: str, drain_s: float) -> None:
        """Unload a model once its prompts have ended, at the latest after `drain_s`."""
        ...

    def park(self, name: str) -> None:
        """Have an idle model's weights leave its GPU; raises ModelStateError if that cannot be now."""
        ...

    def wake(self, name: str) -> None:
        """Have a parked model's weights come back; raises ModelStateError if it is not loaded."""
        ...

    def pin(self, name: str, *, pinned: bool) -> None:
        """Never park a model from now on, or park it again when idle."""
        ...

    async def drain(self) -> None:
        """Refuse new prompts from now on."""
        ...

    def request_shutdown(self, drain_s: float) -> None:
        """Ask for the daemon's end."""
        ...

    def snapshot(self) -> Snapshot:
        """Everything at this instant."""
        ...

    def lending_figures(self) -> LendingFigures:
        """What lending has come to since the daemon started."""
        ...

    def prompt_figures(self) -> PromptFigures:
        """What prompts have come to since the daemon started."""
        ...

    def health(self) -> list[str]:
        """What is broken; empty if nothing is."""
        ...

    def readiness(self) -> list[str]:
        """Why not every model is ready; empty if all are."""
        ...

    def events(self, after_seq: int) -> AsyncIterator[Event]:
        """Events numbered above `after_seq`, then new ones as they happen."""
        ...

    def log_path(self, model: str | None) -> Path:
        """Log file of a model's workers, or of the daemon."""
        ...

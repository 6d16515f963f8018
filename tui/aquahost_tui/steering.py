"""What the UI asks of the daemon; each call blocks, so it belongs into a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aquahost.client import Client
from aquahost.errors import AquahostError

UNLOAD_DRAIN_S = 30.0


class RefusedError(AquahostError):
    """The UI itself does not do that: it only watches, or plays a recording."""


class Steering:
    """Makes a client for each call; raises AquahostError with the reason of what failed."""

    def __init__(self, make_client: Callable[[], Client] | None, *, readonly: bool) -> None:
        """No `make_client`: a recording is played, and there is nobody to ask."""
        self._make_client = make_client
        self._readonly = readonly

    @property
    def is_recording(self) -> bool:
        """Whether a recording is played, and no daemon is there."""
        return self._make_client is None

    @property
    def refusal(self) -> str | None:
        """Why nothing can be steered; None where it can."""
        if self._make_client is None:
            return "this is a recording; there is nothing to steer"
        return "started with --readonly; nothing is steered from here" if self._readonly else None

    def load(self, model: str) -> str:
        """Begin to load a model; returns what was done, in words."""
        with self._client() as client:
            client.load(model)
        return f"{model} is loading"

    def unload(self, model: str) -> str:
        """Unload a model; its prompts have a while to end."""
        with self._client() as client:
            client.unload(model, UNLOAD_DRAIN_S)
        return f"{model} is unloaded"

    def park(self, model: str) -> str:
        """Send a model's weights away until the next prompt."""
        with self._client() as client:
            client.park(model)
        return f"{model} parks"

    def wake(self, model: str) -> str:
        """Bring a model's weights back."""
        with self._client() as client:
            client.wake(model)
        return f"{model} wakes"

    def pin(self, model: str, *, pinned: bool) -> str:
        """Keep a model on its GPU whatever happens, or no longer."""
        with self._client() as client:
            if pinned:
                client.pin(model)
            else:
                client.unpin(model)
        return f"{model} is {'pinned' if pinned else 'no longer pinned'}"

    def cancel(self, prompt_id: str) -> str:
        """Cancel a live prompt."""
        with self._client() as client:
            client.cancel(prompt_id)
        return f"prompt {prompt_id} is cancelled"

    @contextmanager
    def watching(self) -> Iterator[Client]:
        """A client to read with, which needs no leave to steer."""
        if self._make_client is None:
            raise RefusedError("this is a recording; there is no daemon to ask")
        with self._make_client() as client:
            yield client

    @contextmanager
    def prompting(self) -> Iterator[Client]:
        """A client to send prompts with."""
        with self._client() as client:
            yield client

    @contextmanager
    def _client(self) -> Iterator[Client]:
        if self.refusal is not None:
            raise RefusedError(self.refusal)
        with self.watching() as client:
            yield client

"""What keys that act on models and prompts need of the app: where one is, and a way to have something done."""

from __future__ import annotations

import threading
from collections.abc import Callable

from textual.app import App

from aquahost.errors import AquahostError
from aquahost_tui.messages import Steered
from aquahost_tui.screens.dialogs import ConfirmDialog
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.steering import Steering
from aquahost_tui.store.store import Store


class SteeredApp(App[None]):
    """An app of places that steers in the background."""

    store: Store
    steering: Steering

    def place(self) -> TopScreen | None:
        """The place one is at, below dialogs."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, TopScreen)), None)

    def steer(self, deed: Callable[[], str], *, question: str = "", detail: str = "") -> None:
        """Do something in the background and tell what came of it; with a `question`, ask first."""
        if self.steering.refusal is not None:
            self.notify(self.steering.refusal, severity="warning")
        elif question:
            self.push_screen(ConfirmDialog(question, detail=detail), lambda yes: self._answered(deed, yes))
        else:
            self._do(deed)

    def on_steered(self, message: Steered) -> None:
        """Tell what came of it."""
        self.notify(message.words, severity="error" if message.failed else "information")

    def _answered(self, deed: Callable[[], str], yes: bool | None) -> None:
        if yes:
            self._do(deed)

    def _do(self, deed: Callable[[], str]) -> None:
        # Not a worker of Textual's: unloading may take a minute, and one can leave meanwhile.
        threading.Thread(target=self._try, args=(deed,), name="steering", daemon=True).start()

    def _try(self, deed: Callable[[], str]) -> None:
        try:
            self.post_message(Steered(deed(), failed=False))
        except AquahostError as error:
            self.post_message(Steered(str(error), failed=True))
        except Exception as error:  # a thread's exception would be seen by nobody
            self.post_message(Steered(f"{type(error).__name__}: {error}", failed=True))

"""What every part of a screen can do that shows the store."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from aquahost_tui.store.store import Store


@runtime_checkable
class View(Protocol):
    """Shows a store; called several times a second while it is on screen."""

    def show(self, store: Store) -> None:
        """Show how things stand now."""

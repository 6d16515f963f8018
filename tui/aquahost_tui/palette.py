"""What the command palette offers: every place, and what can be done from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from aquahost_tui.places import PLACES

if TYPE_CHECKING:
    from aquahost_tui.app import AquahostApp


def commands(app: AquahostApp) -> Iterator[SystemCommand]:
    """All of them; what is typed is looked for in their titles."""
    for place in PLACES:
        yield SystemCommand(f"Go to {place.name}", place.tooltip, lambda name=place.name: app.action_go(name))
    if app.steering.refusal is None:
        yield SystemCommand("Load a model", "Choose one that is not loaded", app.action_load)
        yield SystemCommand("Unload a model", "Choose one that is loaded; asks first", app.action_unload)
        yield SystemCommand("Park a model", "Send its weights away until its next prompt", app.action_park)
        yield SystemCommand("Wake a model", "Bring its weights back", app.action_wake)
        yield SystemCommand("Pin or unpin a model", "Never park it, or let it be parked again", app.action_pin)
    yield SystemCommand("Pause", "Hold updates back, or let them go on", app.action_pause)
    yield SystemCommand("Theme", "Choose other colours", app.action_change_theme)
    yield SystemCommand("Help", "All keys, and what colours and states mean", app.action_help)
    yield SystemCommand("Screenshot", "Save this screen as an SVG file", app.deliver_screenshot)
    yield SystemCommand("Quit", "Leave; the daemon goes on", app.exit)

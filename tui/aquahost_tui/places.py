"""The app's screens by key and name."""

from __future__ import annotations

from dataclasses import dataclass

from aquahost_tui.screens.leases import LeasesScreen
from aquahost_tui.screens.links import LinksScreen
from aquahost_tui.screens.logs import LogsScreen
from aquahost_tui.screens.models import ModelsScreen
from aquahost_tui.screens.overview import OverviewScreen
from aquahost_tui.screens.prompts import PromptsScreen
from aquahost_tui.screens.tenants import TenantsScreen
from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.screens.try_model import TryScreen


@dataclass(frozen=True, slots=True)
class Place:
    """One screen to go to."""

    key: str
    screen: type[TopScreen]
    tooltip: str

    @property
    def name(self) -> str:
        """As its tab is labelled."""
        return self.screen.NAME


PLACES = (
    Place("1", OverviewScreen, "GPUs, leases, the queue and events"),
    Place("2", ModelsScreen, "Models: load, unload, park, wake and pin them"),
    Place("3", LeasesScreen, "Leases: who lends what to whom, live and ended"),
    Place("4", PromptsScreen, "Prompts: the queue, and one prompt's life, facts and text"),
    Place("5", TenantsScreen, "Tenants: shares of device time against weights"),
    Place("6", LinksScreen, "Links: which GPUs reach each other, how fast, and what goes between them"),
    Place("7", LogsScreen, "Logs: events, and what the daemon and each model's worker wrote"),
    Place("t", TryScreen, "Try a model: chat, or make an image or a sound"),
)

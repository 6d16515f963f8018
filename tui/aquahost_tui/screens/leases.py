"""The leases: who lends what to whom, how fast, and what is wanted back until when."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.containers import Vertical
from textual.widget import Widget

from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.sizes import LOW_HEIGHT
from aquahost_tui.widgets.lease_map import LeaseMap
from aquahost_tui.widgets.lease_summary import LeaseSummary
from aquahost_tui.widgets.lease_table import LeaseTable


class LeasesScreen(TopScreen):
    """Sums, the map of all pairs, and every lease with those that ended lately."""

    NAME = "leases"

    def body(self) -> Iterable[Widget]:
        """Three regions."""
        yield LeaseSummary("summary")
        lease_map = Vertical(LeaseMap("leases", share=0.43), id="map-box", classes="box")
        lease_map.border_title = "donor → borrower"
        yield lease_map
        table = Vertical(LeaseTable("lease-table"), id="table-box", classes="box")
        table.border_title = "live and ended"
        yield table

    def on_mount(self) -> None:
        """Keys go to the table."""
        self.query_one(LeaseTable).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Without borders where there is little room."""
        self.set_class(event.size.height < LOW_HEIGHT, "-low")

"""The first screen: every GPU, who lends to whom, who waits for what, and what happened."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.sizes import LOW_HEIGHT
from aquahost_tui.widgets.boxes import boxed
from aquahost_tui.widgets.event_list import EventList
from aquahost_tui.widgets.gpu_panel import GpuPanel
from aquahost_tui.widgets.lease_map import LeaseMap
from aquahost_tui.widgets.queue_table import QueueTable

_SIDE_BY_SIDE = 116
"""Columns from which the lease map and the events stand beside the queue."""
_WIDE = 190
"""Columns from which the lease map has room for rates."""


class OverviewScreen(TopScreen):
    """GPUs above; below the queue, with leases and events at its side, or only events under it where it is narrow."""

    NAME = "overview"

    def body(self) -> Iterable[Widget]:
        """Three regions."""
        yield boxed(GpuPanel(), "GPUs")
        yield Horizontal(
            boxed(Vertical(QueueTable("queue"), id="queue-box"), "queue"),
            Vertical(
                boxed(Vertical(LeaseMap("leases", share=0.34), id="leases-box"), "leases: donor → borrower"),
                boxed(Vertical(EventList("events"), id="events-box"), "events"),
                id="side",
            ),
            id="below",
        )

    def on_mount(self) -> None:
        """Keys go to the queue."""
        self.query_one(QueueTable).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side, or stacked."""
        self.set_class(event.size.width < _SIDE_BY_SIDE, "-narrow")
        self.set_class(event.size.width >= _WIDE, "-wide")
        self.set_class(event.size.height < LOW_HEIGHT, "-low")

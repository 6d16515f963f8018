"""The tenants: who deserves how much of the device time, and who has had it."""

from __future__ import annotations

from collections.abc import Iterable

from textual.containers import Vertical
from textual.widget import Widget

from aquahost_tui.screens.top_screen import TopScreen
from aquahost_tui.widgets.share_bars import ShareBars
from aquahost_tui.widgets.tenant_table import TenantTable


class TenantsScreen(TopScreen):
    """Shares as bars above, every tenant below."""

    NAME = "tenants"

    def body(self) -> Iterable[Widget]:
        """Two regions."""
        bars = Vertical(ShareBars("shares"), id="shares-box", classes="box")
        bars.border_title = "device time"
        yield bars
        table = Vertical(TenantTable("tenant-table"), id="tenants-box", classes="box")
        table.border_title = "tenants"
        yield table

    def on_mount(self) -> None:
        """Keys go to the table."""
        self.query_one(TenantTable).focus()

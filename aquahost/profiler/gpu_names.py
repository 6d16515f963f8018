"""From what a driver calls a GPU to its data sheet."""

from __future__ import annotations

import re

from aquahost.profiles.data_sheets import SHEETS

EMULATED = "emulated"
"""What profiles call a GPU of the emulated driver."""
_MEMORY_TOLERANCE = 0.1
"""Drivers tell a little less, or binary units for decimal ones."""


def sheet_name(driver_name: str, total_bytes: int) -> str:
    """The data sheet of the GPU that a driver calls so, of so much memory; the driver's name where there is none."""
    words = set(re.split(r"[^A-Z0-9]+", driver_name.upper()))
    for name, sheet in SHEETS.items():
        known = name.upper().split("-")[0]
        if known in words and abs(total_bytes / sheet.memory_bytes - 1) <= _MEMORY_TOLERANCE:
            return name
    return driver_name

"""From what a driver calls a GPU to its data sheet."""

from __future__ import annotations

import re

from aquahost.profiles.data_sheets import SHEETS

EMULATED = "emulated"
"""What profiles call a GPU of the emulated driver."""
_MEMORY_TOLERANCE = 0.1
"""Drivers tell a little less, or binary units for decimal ones."""
_OTHERS = {"PCIE", "NVL", "MIG"}
"""In names of GPUs whose links and rates are not those of the data sheets, which are of whole SXM modules."""
_PART = re.compile(r"\(part \d+ of (\d+)\)")
"""As the driver marks a GPU that `host.partition` makes."""


def sheet_name(driver_name: str, total_bytes: int) -> str:
    """The data sheet of the GPU that a driver calls so, of so much memory; the driver's name where there is none.

    A part of a partitioned GPU is like its other parts, but not like a whole one: neither data sheets nor profiles of
    the one are the other's.
    """
    if _PART.search(driver_name):
        return _PART.sub(r"(part of \1)", driver_name)
    words = set(re.split(r"[^A-Z0-9]+", driver_name.upper()))
    if words & _OTHERS:
        return driver_name
    for name, sheet in SHEETS.items():
        known = name.upper().split("-")[0]
        if known in words and abs(total_bytes / sheet.memory_bytes - 1) <= _MEMORY_TOLERANCE:
            return name
    return driver_name

"""What the kernel knows of processes' memory."""

from __future__ import annotations

import os
from pathlib import Path


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def resident_bytes(pids: list[int]) -> list[int | None]:
    """Resident bytes of each process; None for one that is gone."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    found: list[int | None] = []
    for pid in pids:
        try:
            found.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page_bytes)
        except (OSError, IndexError):
            found.append(None)
    return found

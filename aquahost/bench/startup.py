"""How long the demo host takes to come up, and how much memory it holds."""

from __future__ import annotations

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.private_daemon import private_daemon
from aquahost.bench.process import resident_bytes
from aquahost.units import GIB


def measure_startup() -> list[Figure]:
    """`aquahost up --wait` with the three demo models (already made), and the resident memory of all processes."""
    with private_daemon(None):
        pass  # makes the demo models if they are not cached yet, and warms the file cache
    with private_daemon(None) as daemon:
        resident = sum(resident_bytes(pid) for pid in daemon.pids())
        return [
            at_most("aquahost up --wait, three demo models", daemon.start_s, "s", 25),
            at_most(
                "resident memory of all processes",
                resident / GIB,
                "GiB",
                3,
                note="sum of RSS, shared pages counted each time",
            ),
        ]

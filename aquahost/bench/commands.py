"""How long the commands of the CLI take from start to end, and what they load."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.private_daemon import PrivateDaemon, private_daemon

_RUNS = 15
_PROBE = """
import sys
from aquahost.cli.main import main
try:
    main()
except SystemExit:
    sys.stderr.write(str("torch" in sys.modules))
"""
_TOY = "models:\n  toy: {kind: toy, toy: {load_s: 0}}\n"


def measure_commands() -> list[Figure]:
    """Median wall time of `aquahost --help`, and of `aquahost ps` against a running daemon, in new processes."""
    with private_daemon(_TOY) as daemon:
        figures = [
            at_most(f"aquahost {word}, median of {_RUNS}", _median_s(daemon, word), "s", 0.4)
            for word in ("--help", "ps")
        ]
        line = [sys.executable, "-c", _PROBE, "ps"]
        loaded = subprocess.run(line, env=dict(daemon.env), capture_output=True, text=True, check=True).stderr
        figures.append(at_most("torch imported by aquahost ps", float(loaded.endswith("True")), "times", 0))
    return figures


def _median_s(daemon: PrivateDaemon, word: str) -> float:
    daemon.command(word)  # once to warm the file cache
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        daemon.command(word)
        times.append(time.perf_counter() - began)
    return statistics.median(times)

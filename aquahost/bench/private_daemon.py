"""A daemon for one measurement, out of the way of any other on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquahost.errors import StartError

_START_S = 5.0
"""A daemon that was begun has written down its address by then, or it never will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateDaemon:
    """A running daemon, and how to reach it."""

    env: Mapping[str, str]
    start_s: float
    """What `aquahost up -d --wait` took, wall clock."""
    port: int
    socket: Path
    """Of its control routes."""
    pid: int

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an `aquahost` command against this daemon; raises CalledProcessError if it fails."""
        line = [sys.executable, "-m", "aquahost", *words]
        return subprocess.run(line, env=dict(self.env), capture_output=True, text=True, check=True)

    def snapshot(self) -> dict[str, Any]:
        """The daemon's snapshot as `aquahost status -o json` prints it."""
        snapshot: dict[str, Any] = json.loads(self.command("status", "-o", "json").stdout)
        return snapshot

    def pids(self) -> list[int]:
        """The daemon and its workers."""
        return [self.pid, *(model["pid"] for model in self.snapshot()["models"] if model["pid"])]


def private_environment(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`inherited`, with a daemon of its own in `folder`: nothing may lead to the user's daemon, or change the measured
    one. Only the cache stays where it is, so that demo models are not made again."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("AQUAHOST_")}
    if cache := inherited.get("AQUAHOST_CACHE_DIR"):
        kept["AQUAHOST_CACHE_DIR"] = cache
    own = {"RUNTIME": folder / "run", "STATE": folder / "state", "PROFILE": folder / "profiles"}
    return {**kept, **{f"AQUAHOST_{what}_DIR": str(path) for what, path in own.items()}}


@contextmanager
def private_daemon(
    models_yaml: str | Path | None, more_env: Mapping[str, str] | None = None
) -> Iterator[PrivateDaemon]:
    """Start a daemon with these models, or with this file as it is (None: the packaged demo), wait until they are
    ready, stop it at the end.

    Raises StartError with the command's own words if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as name:
        folder = Path(name)
        env = private_environment(os.environ, folder) | dict(more_env or {})
        what = ["--demo"]
        if isinstance(models_yaml, Path):
            what = ["--models", str(models_yaml.absolute())]
        elif models_yaml is not None:
            path = folder / "models.yaml"
            path.write_text(f"host: {{driver: emulated}}\n{models_yaml}")
            what = ["--models", str(path)]
        aquahost = [sys.executable, "-m", "aquahost"]
        about_file = folder / "run" / "daemon.json"
        is_up = False
        try:
            began = time.perf_counter()
            up = subprocess.run(
                [*aquahost, "up", "-d", "--wait", "--port", "0", *what], env=env, stderr=subprocess.PIPE
            )
            start_s = time.perf_counter() - began
            is_up = True
            if up.returncode:
                raise StartError(f"the daemon to be measured did not start:\n{up.stderr.decode()}")
            about = json.loads(about_file.read_text())
            yield PrivateDaemon(
                env=env, start_s=start_s, port=about["port"], socket=Path(about["socket"]), pid=about["pid"]
            )
        finally:
            # Interrupted while it starts, it is about to say where it is; without that nobody could stop it any more.
            deadline_s = time.monotonic() + (0 if is_up else _START_S)
            while not about_file.exists() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            if about_file.exists():
                subprocess.run([*aquahost, "down", "--now"], env=env, capture_output=True, check=False)

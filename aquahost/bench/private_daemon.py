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


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateDaemon:
    """A running daemon, and how to reach it."""

    env: Mapping[str, str]
    start_s: float
    """What `aquahost up -d --wait` took, wall clock."""
    port: int
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


@contextmanager
def private_daemon(models_yaml: str | None) -> Iterator[PrivateDaemon]:
    """Start a daemon with these models (None: the packaged demo), wait until they are ready, stop it at the end.

    Raises StartError with the command's own words if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        env = dict(os.environ, AQUAHOST_RUNTIME_DIR=f"{folder}/run", AQUAHOST_STATE_DIR=f"{folder}/state")
        what = ["--demo"]
        if models_yaml is not None:
            path = Path(folder, "models.yaml")
            path.write_text(models_yaml)
            what = ["--models", str(path)]
        aquahost = [sys.executable, "-m", "aquahost"]
        began = time.perf_counter()
        up = subprocess.run([*aquahost, "up", "-d", "--wait", "--port", "0", *what], env=env, stderr=subprocess.PIPE)
        start_s = time.perf_counter() - began
        try:
            if up.returncode:
                raise StartError(f"the daemon to be measured did not start:\n{up.stderr.decode()}")
            about = json.loads(Path(folder, "run", "daemon.json").read_text())
            yield PrivateDaemon(env=env, start_s=start_s, port=about["port"], pid=about["pid"])
        finally:
            subprocess.run([*aquahost, "down", "--now"], env=env, capture_output=True, check=False)

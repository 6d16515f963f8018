"""`aquahost` as a process of its own, with folders of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 60


class CliProcess:
    """Runs commands against the daemon of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AQUAHOST_")}
        self.env = {
            **inherited,
            "AQUAHOST_RUNTIME_DIR": str(folder / "run"),
            "AQUAHOST_STATE_DIR": str(folder / "state"),
            "AQUAHOST_PROFILE_DIR": str(folder / "profiles"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "OMP_NUM_THREADS": "1",
        }

    def models(self, text: str) -> str:
        """A models.yaml of these models, on emulated GPUs and any free port; its path."""
        path = self.folder / "models.yaml"
        path.write_text(
            f"host: {{driver: emulated, port: 0, emulated: {{gpus: 2, gpu_bytes: 64MiB}}}}\nmodels:\n{text}"
        )
        return str(path)

    def run(
        self, *words: str, stdin: str = "", patience_s: float = PATIENCE_S, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.line(*words),
            env={**self.env, **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command; to be waited for."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self.line(*words), env=self.env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def line(self, *words: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "aquahost", *words]

    def about(self) -> dict[str, Any]:
        """daemon.json."""
        about: dict[str, Any] = json.loads((self.folder / "run" / "daemon.json").read_text())
        return about

    def worker_pids(self) -> list[int]:
        """Process ids of the daemon's workers."""
        whole = json.loads(self.run("status", "-o", "json").stdout)
        return [model["pid"] for model in whole["models"] if model["pid"]]


@contextmanager
def cli_process() -> Iterator[CliProcess]:
    """Commands in a new folder; its daemon, if one runs, is stopped at the end."""
    # Not pytest's folder, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="aquahost-cli.") as folder:
        cli = CliProcess(Path(folder))
        try:
            yield cli
        finally:
            cli.run("down", "--now")

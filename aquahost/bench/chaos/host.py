"""The daemon that is maltreated: killed, started again, and looked at meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from aquahost.bench.chaos.processes import processes_of
from aquahost.bench.private_daemon import PrivateDaemon
from aquahost.config.paths import jobs_dir
from aquahost.daemon.jobs.store import CONTENTS
from aquahost.errors import StartError
from aquahost.messages.snapshot import ModelState, Snapshot

LOOK_S = 0.02
"""Between two looks at something that is waited for."""
_ANSWER_S = 30.0


class ChaosHost:
    """A private daemon that may be killed and begun again from the same file and folders."""

    def __init__(self, daemon: PrivateDaemon, models: Path) -> None:
        self._daemon, self._models = daemon, models
        self._runtime_dir = Path(daemon.env["AQUAHOST_RUNTIME_DIR"])
        self._results = jobs_dir(daemon.env) / CONTENTS
        self.log = Path(daemon.env["AQUAHOST_STATE_DIR"]) / "logs" / "daemon.log"
        self.pid, self.port, self.socket = daemon.pid, daemon.port, daemon.socket
        self.deaths = 0
        """Raised just before each kill, so that whoever is cut off finds it changed."""
        self.up = asyncio.Event()
        """Set while it may be asked."""
        self.up.set()

    @property
    def url(self) -> str:
        """Of the HTTP API; another after each restart."""
        return f"http://127.0.0.1:{self.port}"

    async def snapshot(self) -> Snapshot:
        """The daemon's snapshot. Raises httpx.HTTPError where none answers."""
        return msgspec.json.decode((await self.get("/control/snapshot")).content, type=Snapshot)

    async def health(self) -> list[str]:
        """What the daemon says is broken, of itself or of its workers."""
        problems: list[str] = (await self.get("/healthz")).json()["problems"]
        return problems

    async def seen(self, condition: Callable[[Snapshot], bool], within_s: float) -> bool:
        """Wait until a snapshot meets the condition; returns whether one did in time."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s:
            if condition(await self.snapshot()):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def processes(self) -> dict[int, int]:
        """All its processes, by process id with their groups."""
        return processes_of(self._runtime_dir)

    def kill(self) -> None:
        """SIGKILL to the daemon."""
        self.deaths += 1
        self.up.clear()
        os.kill(self.pid, signal.SIGKILL)

    async def restart(self) -> None:
        """Begin it again and wait until its models are ready. Raises StartError with the command's own words."""
        words = ["up", "-d", "--wait", "--port", "0", "--models", str(self._models)]
        line = [sys.executable, "-m", "aquahost", *words]
        env = dict(self._daemon.env)
        done = await asyncio.to_thread(subprocess.run, line, env=env, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise StartError(f"the killed daemon does not come up again:\n{done.stderr}")
        about = json.loads((self._runtime_dir / "daemon.json").read_text())
        self.pid, self.port = about["pid"], about["port"]
        self.up.set()

    async def get(self, path: str) -> httpx.Response:
        """A control route's answer. Raises httpx.HTTPError where none comes."""
        async with self._control() as http:
            return await http.get(path)

    async def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """The same of a request with a body; raises httpx.HTTPError for a refusal, too."""
        async with self._control() as http:
            return (await http.post(path, json=body)).raise_for_status()

    def job_results(self) -> int:
        """How many results of durable jobs lie on the disk."""
        return sum(not one.name.startswith(".") for one in self._results.iterdir())

    def _control(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        return httpx.AsyncClient(transport=transport, base_url="http://aquahost", timeout=_ANSWER_S)


def all_ready(snapshot: Snapshot) -> bool:
    """Whether every model takes prompts."""
    return all(model.state is ModelState.READY for model in snapshot.models)


def at_rest(snapshot: Snapshot) -> bool:
    """Whether every model is ready, no prompt lives and nothing is lent."""
    return all_ready(snapshot) and not snapshot.prompts and not snapshot.leases

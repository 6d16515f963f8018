"""A daemon with toy models, and ways to look at it; for process tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aquahost.clock import SystemClock
from aquahost.config.settings import Settings
from aquahost.config.source import SettingsSource
from aquahost.daemon.daemon import Daemon
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.run_folder import DaemonInfo
from aquahost.daemon.start_placing import PlanGpus
from aquahost.messages.prompts import Finished, Output, Sampling, TextRequest, Tokens
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.worker.spec import DriverSpec

PATIENCE_S = 20.0
"""How long a test waits for what must come; only a failing test waits this long."""


@dataclass(frozen=True)
class FakeGpu:
    """What the driver would say of a GPU."""

    index: int
    uuid: str = "GPU-fake"
    name: str = "fake"
    total_bytes: int = 1 << 30
    free_bytes: int = 1 << 30
    lost: str | None = None


def toy(**entry: Any) -> dict[str, Any]:
    """A models.yaml entry of kind toy that loads at once; `load_s`, `step_s` and `fail` go to its toy section."""
    timing = {key: entry.pop(key) for key in ("load_s", "step_s", "fail") if key in entry}
    return {"kind": "toy", "toy": {"load_s": 0.0, "step_s": 0.001, **timing}, **entry}


@asynccontextmanager
async def running_daemon(
    models: dict[str, dict[str, Any]],
    *,
    ready: bool = True,
    gpus: int = 4,
    scheduler: dict[str, Any] | None = None,
    plan_gpus: PlanGpus | None = None,
    source: SettingsSource | None = None,
    **host: Any,
) -> AsyncIterator[Daemon]:
    """A started daemon, stopped at the end; with `ready`, once all its autoload models are."""
    settings = Settings.model_validate({"models": models, "host": host, "scheduler": scheduler or {}})
    # Not pytest's folder, whose path may be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="aquahost-test.") as folder:
        daemon = Daemon(
            settings,
            run_dir=Path(folder),
            log_dir=Path(folder),
            driver_name="emulated",
            worker_driver=DriverSpec(choice="emulated", node={"path": folder}),
            read_gpus=lambda: [FakeGpu(index) for index in range(gpus)],
            clock=SystemClock(),
            plan_gpus=plan_gpus,
            source=source,
        )
        await daemon.start()
        try:
            if ready:
                await until(lambda: not daemon.readiness())
            yield daemon
        finally:
            await daemon.stop(0.0)


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "what was waited for did not come"
        await asyncio.sleep(0.005)


def view(daemon: Daemon, model: str) -> ModelView:
    """A model in the daemon's snapshot."""
    return next(view for view in daemon.snapshot().models if view.name == model)


def worker_pid(daemon: Daemon, model: str) -> int:
    """Process id of a model's worker, which must be there."""
    pid = view(daemon, model).pid
    assert pid is not None
    return pid


async def ready(daemon: Daemon, model: str) -> None:
    """Wait until a model is ready."""
    await until(lambda: view(daemon, model).state is ModelState.READY)


def ask(daemon: Daemon, model: str, *, max_tokens: int | None = 5, text: str = "hello") -> PromptStream:
    """Submit a text prompt."""
    request = TextRequest(text=text, sampling=Sampling(max_tokens=max_tokens))
    return daemon.submit(model, request, tenant="tester")


async def collect(stream: PromptStream) -> list[Output]:
    """All outputs of a prompt, to its end."""
    outputs: list[Output] = []
    async with asyncio.timeout(PATIENCE_S):
        while taken := await stream.take():
            outputs += taken
    return outputs


async def first_token(stream: PromptStream) -> list[Output]:
    """Take outputs until the prompt has produced a token; returns them."""
    outputs: list[Output] = []
    async with asyncio.timeout(PATIENCE_S):
        while not any(isinstance(output, Tokens) for output in outputs):
            outputs += await stream.take()
    return outputs


def ending(outputs: list[Output]) -> Finished:
    """A prompt's last output."""
    assert isinstance(outputs[-1], Finished)
    return outputs[-1]


def text_of(outputs: list[Output]) -> str:
    """The text that came."""
    return "".join(output.text for output in outputs if isinstance(output, Tokens))


SERVE = """
import sys
from aquahost.config.settings import Settings
from aquahost.serve import serve
sys.exit(serve(Settings.model_validate_json(sys.stdin.read())))
"""


@dataclass(frozen=True)
class ServedDaemon:
    """A daemon in a process of its own, as `aquahost up` runs it."""

    process: subprocess.Popen[str]
    info: DaemonInfo


@contextmanager
def served_daemon(
    folder: Path, models: dict[str, dict[str, Any]], *, leasing: dict[str, Any] | None = None, **host: Any
) -> Iterator[ServedDaemon]:
    """A daemon that serves from `folder`, once its API answers; killed at the end if it still runs."""
    host = {"port": 0, "driver": "emulated", **host}
    settings = {"models": models, "host": host, "leasing": leasing or {}}
    env = {**os.environ, "AQUAHOST_RUNTIME_DIR": str(folder / "run"), "AQUAHOST_STATE_DIR": str(folder / "state")}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings))
    process.stdin.close()
    file = folder / "run" / "daemon.json"
    try:
        wait_until(lambda: process.poll() is not None or _is_of(file, process.pid))
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield ServedDaemon(process, msgspec.json.decode(file.read_bytes(), type=DaemonInfo))
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def _is_of(file: Path, pid: int) -> bool:
    """Whether daemon.json is this daemon's; a killed one may have left its own, which the next one takes away."""
    with suppress(FileNotFoundError):
        return str(pid) in file.read_text()
    return False


def wait_until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds, outside an event loop."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "what was waited for did not come"
        time.sleep(0.005)


def members_of_group(leader: int) -> list[int]:
    """The processes of a group, its leader and zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
    return found


def workers_named(name: str) -> list[int]:
    """Worker processes of a model of that name, of any daemon, and their guards."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"aquahost.worker" in words and name.encode() in words:
                    found.append(int(entry.name))
    return found


def process_lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"

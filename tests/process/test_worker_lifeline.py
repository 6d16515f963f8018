"""No worker outlives its daemon."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon_fixtures import process_lives, served_daemon, toy, wait_until, workers_named


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aquahost-test.", ignore_cleanup_errors=True) as name:
        yield Path(name)


def test_a_daemon_killed_outright_leaves_no_worker(folder: Path) -> None:
    serving, loading = f"serving-{secrets.token_hex(4)}", f"loading-{secrets.token_hex(4)}"
    with served_daemon(folder, {serving: toy(), loading: toy(load_s=600)}) as daemon:
        log = folder / "state" / "logs" / f"model-{serving}.log"
        wait_until(lambda: log.exists() and "is ready" in log.read_text())
        pids = workers_named(serving) + workers_named(loading)
        assert len(pids) == 2
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(process_lives, pids)))


def test_a_daemon_killed_while_its_workers_start_leaves_none(folder: Path) -> None:
    names = [f"starting-{secrets.token_hex(4)}" for _ in range(3)]
    with served_daemon(folder, {name: toy(load_s=600) for name in names}) as daemon:
        # Seen by name, so that a worker begun in the last moment counts too.
        wait_until(lambda: workers_named(names[0]))
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(workers_named(name) for name in names))


WATCHED = """
import subprocess, sys
from aquahost.worker.lifeline import kill_group, read_first_line, wait_for_end
read_first_line()
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
while not wait_for_end(0.1):
    pass
kill_group()
"""


def test_what_a_worker_started_ends_with_the_daemon_too() -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WATCHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(b"spec\n")
    worker.stdin.flush()
    child = int(worker.stdout.readline())
    assert process_lives(child)
    worker.stdin.close()
    worker.wait()
    worker.stdout.close()
    wait_until(lambda: not process_lives(child))


def test_a_worker_whose_daemon_died_before_its_first_line_exits() -> None:
    worker = subprocess.run(
        [sys.executable, "-m", "aquahost.worker", "nobody"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert worker.returncode == 1
    assert worker.stderr == b""


def test_a_toy_worker_imports_no_torch_and_no_driver() -> None:
    code = "import sys, aquahost.worker.main, aquahost.engines.toy; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert {"torch", "transformers", "diffusers", "aquahost_cuda", "cuda", "numpy"}.isdisjoint(modules)

"""No worker outlives its daemon."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aquahost.worker.lifeline import GUARD_SIGNAL
from daemon_fixtures import members_of_group, process_lives, served_daemon, toy, wait_until, workers_named


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
        assert len(pids) == 4  # each with its guard
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(process_lives, pids)))


def test_a_daemon_killed_while_its_workers_start_leaves_none(folder: Path) -> None:
    names = [f"starting-{secrets.token_hex(4)}" for _ in range(3)]
    with served_daemon(folder, {name: toy(load_s=600) for name in names}) as daemon:
        # Seen by name, so that a worker begun in the last moment counts too.
        wait_until(lambda: workers_named(names[0]))
        os.kill(daemon.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(workers_named(name) for name in names))


DAEMON = """
import os, subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
worker.stdin.write(b"%d\\n" % os.getpid())
worker.stdin.flush()
worker.wait()
"""
WORKER = """
import os, signal, subprocess, sys, threading, time
from aquahost.worker.lifeline import *
{ropes}
leave_if_orphan(int(read_first_line()))

def watch():
    while not wait_for_end(0.5):
        pass
    kill_group()

threading.Thread(target=watch, daemon=True).start()
inherits_all = subprocess.Popen(["sleep", "600"], close_fds=False)
forked = os.fork()
if not forked:
    signal.pause()
print(os.getpid(), inherits_all.pid, forked, flush=True)
signal.pause()
"""


@contextmanager
def daemon_with_a_worker(ropes: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process whose child is held by these ropes; with the pids of that worker and of what the worker started."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, WORKER.format(ropes=ropes)], stdout=subprocess.PIPE, text=True
    )
    pids: list[int] = []
    assert daemon.stdout is not None
    try:
        pids = [int(word) for word in daemon.stdout.readline().split()]
        assert len(pids) == 3
        yield daemon, pids
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        for pid in filter(process_lives, pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("ropes", ["die_with_parent(); guard_group()", "guard_group()", "pass"])
def test_what_a_worker_started_ends_with_a_killed_daemon(ropes: str) -> None:
    """With all ropes, and with as few as a system may leave us: any one is enough, none gets in another's way."""
    with daemon_with_a_worker(ropes) as (daemon, pids):
        assert all(map(process_lives, pids))
        daemon.kill()
        wait_until(lambda: not any(map(process_lives, pids)))


def test_what_a_worker_started_ends_with_it() -> None:
    with daemon_with_a_worker("die_with_parent(); guard_group()") as (_, pids):
        group = members_of_group(pids[0])
        assert len(group) == 4  # and its guard
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: not any(map(process_lives, group)))


def test_a_guard_that_is_sent_signals_stays_until_its_worker_ends() -> None:
    with daemon_with_a_worker("die_with_parent(); guard_group()") as (_, pids):
        (guard,) = set(members_of_group(pids[0])) - set(pids)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, GUARD_SIGNAL):
            os.kill(guard, number)
        assert all(map(process_lives, [guard, *pids]))
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: not any(map(process_lives, [guard, *pids])))


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

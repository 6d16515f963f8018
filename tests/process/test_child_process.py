"""Commands that do not end: killed where that is possible, left where it is not, waited for in no case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aquahost import child_process
from aquahost.child_process import TooSlowError, run_bounded
from aquahost.cli.doctor import probe as probe_module
from aquahost.cli.doctor.probe import ProbeError, probe
from aquahost.config.settings import HostSettings

ENDLESS = "import sys, time; sys.stdout.write('begun'); sys.stdout.flush(); time.sleep(600)"
# A child of the command holds its output open, as a process does that can't be killed.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as file:
    file.write(str(child.pid))
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_that_ends_gives_status_and_output() -> None:
    line = [sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit('no')"]
    done = run_bounded(line, env=os.environ, limit_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"\n", b"no\n")


def test_one_that_does_not_is_killed() -> None:
    with pytest.raises(TooSlowError, match=r"^no answer within 0.5 s$"):
        run_bounded([sys.executable, "-c", ENDLESS], env=os.environ, limit_s=0.5)


def test_its_children_are_not_waited_for(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(TooSlowError):
        run_bounded([sys.executable, "-c", PARENT, str(note)], env=os.environ, limit_s=3)
    pid = int(note.read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_one_that_cannot_be_killed_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: left.append(process))
    monkeypatch.setattr(child_process, "_LAST_WAIT_S", 0.01)
    with pytest.raises(TooSlowError, match="does not even end when it is killed"):
        run_bounded([sys.executable, "-c", ENDLESS], env=os.environ, limit_s=0.01)
    left[0].send_signal(signal.SIGKILL)
    left[0].wait()


def test_a_driver_that_never_answers_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "_PATIENCE_S", 0.01)
    with pytest.raises(ProbeError, match=r"^the driver gives no answer within 0.01 s$"):
        probe(HostSettings(driver="emulated"), os.environ)


def test_a_folder_where_the_user_stands_is_not_the_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow = tmp_path / "aquahost_cuda"
    shadow.mkdir()
    (shadow / "__init__.py").write_text("")
    (shadow / "probe.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    env = os.environ | {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    assert probe(HostSettings(driver="emulated"), env).driver == "emulated"

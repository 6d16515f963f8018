"""models.yaml changed under a running daemon: by the command, and by SIGHUP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from aquahost.cli.daemon_process import lives
from aquahost.client import Client
from aquahost.messages.snapshot import ModelView
from cli_process import PATIENCE_S, CliProcess, cli_process

KEPT = "  kept: {kind: toy, toy: {load_s: 0, step_s: 5ms}}\n"
OLD = "  old: {kind: toy, toy: {load_s: 0, step_s: 5ms}}\n"


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    with cli_process() as cli:
        assert cli.run("up", "-d", "--wait", "--models", cli.models(KEPT + OLD)).returncode == 0
        yield cli


def models(cli: CliProcess) -> dict[str, ModelView]:
    with Client(cli.folder / "run" / "aquahost.sock") as client:
        return {model.name: model for model in client.snapshot().models}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.05)


def said(cli: CliProcess, kind: str) -> list[str]:
    found = []
    with Client(cli.folder / "run" / "aquahost.sock") as client:
        last = client.snapshot().last_event_seq
        for event in client.events():
            found += [event.message] if event.kind == kind else []
            if event.seq >= last:
                break
    return found


def test_only_what_has_changed_is_touched(cli: CliProcess) -> None:
    kept_pid, old_pid = models(cli)["kept"].pid, models(cli)["old"].pid
    cli.models(KEPT.replace("toy,", "toy, max_queue: 7,") + "  new: {kind: toy, toy: {load_s: 0}}\n")
    done = cli.run("reload", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert {change["key"]: change["effect"] for change in json.loads(done.stdout)["changes"]} == {
        "models.kept.max_queue": "in effect",
        "models.new": "loads",
        "models.old": "drains, then unloads",
    }
    until(lambda: models(cli).keys() == {"kept", "new"} and models(cli)["new"].state == "ready")
    assert models(cli)["kept"].pid == kept_pid
    assert models(cli)["kept"].max_queue == 7
    assert not lives(old_pid)
    assert cli.run("run", "new", "Hello", "--max-tokens", "2").returncode == 0
    assert cli.run("run", "old", "Hello").returncode == 4
    table = cli.run("reload")
    assert table.stderr.endswith("models.yaml: nothing has changed\n")


def test_a_changed_model_drains_before_it_loads_anew(cli: CliProcess) -> None:
    with cli.begin("run", "old", "Hello", "--max-tokens", "600") as asking:
        until(lambda: models(cli)["old"].queue == 1)
        before = models(cli)["old"].pid
        cli.models(KEPT + OLD.replace("5ms", "1ms"))
        done = cli.run("reload")
        assert done.returncode == 0, done.stderr
        assert "models.old.toy.step_s  0.005 → 0.001  drains, then loads anew" in done.stdout
        stdout, stderr = asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode == 0, stderr
    assert len(stdout.split()) == 600
    until(lambda: models(cli)["old"].state == "ready" and models(cli)["old"].pid != before)


def test_mistakes_are_told_as_config_check_tells_them_and_change_nothing(cli: CliProcess) -> None:
    before = models(cli)
    file = Path(cli.models("  kept: {kind: toy, max_queue: 0}\n  old: {kind: poem}\n"))
    done, checked = cli.run("reload"), cli.run("config", "check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr == checked.stderr
    os.kill(cli.about()["pid"], signal.SIGHUP)
    until(lambda: len(said(cli, "config.refused")) == 2)
    assert "kept.max_queue" in said(cli, "config.refused")[1]
    file.unlink()
    assert cli.run("reload").returncode == 2
    after = models(cli)
    assert [model.pid for model in after.values()] == [model.pid for model in before.values()]
    assert cli.run("run", "kept", "Hello", "--max-tokens", "2").returncode == 0


def test_sighup_another_file_and_tenants(cli: CliProcess) -> None:
    url = f"http://127.0.0.1:{cli.about()['port']}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/v1/models").status_code == 200
        other = cli.folder / "other.yaml"
        text = Path(cli.models(KEPT + OLD)).read_text().replace("port: 0", "port: 1")
        other.write_text(text + "tenants: {red: {key: red-secret}}\n")
        done = cli.run("reload", "--models", str(other))
        assert done.returncode == 0, done.stderr
        assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["KEY", "host.port", "tenants.red"]
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer red-secret"}).status_code == 200
        other.write_text(text + "tenants: {red: {key: another-secret}}\n")
        os.kill(cli.about()["pid"], signal.SIGHUP)
        until(lambda: client.get("/v1/models", headers={"authorization": "Bearer another-secret"}).status_code == 200)
        assert client.get("/v1/models", headers={"authorization": "Bearer red-secret"}).status_code == 401
        assert client.post("/control/reload", json={"file": str(other)}).status_code == 403
    assert lives(cli.about()["pid"])


def test_a_daemon_ends_with_the_terminal_it_was_started_in() -> None:
    """There SIGHUP does not mean that models.yaml has changed."""
    begin = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    with cli_process() as cli:
        line = cli.line("up", "--models", cli.models(KEPT))
        master, terminal = os.openpty()
        daemon = subprocess.Popen(
            [sys.executable, "-c", begin, *line],
            env=cli.env,
            stdin=terminal,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(terminal)
        until(lambda: (cli.folder / "run" / "daemon.json").exists())
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: said(cli, "config.reloaded"))
        os.close(master)
        assert daemon.wait(PATIENCE_S) == 0

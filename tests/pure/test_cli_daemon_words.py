"""`load`, `unload`, `down` and `logs` without a real daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from aquahost.cli import daemon_process
from aquahost.cli.daemon_process import DaemonFile, lives, living_daemon, read_daemon_file
from aquahost.messages.snapshot import ModelState
from cli_harness import Canned, a_model, a_prompt, a_snapshot, run_cli

NOBODY = 2**22 + 1
"""No process has this id: it is above the kernel's limit."""


def daemon_json(folder: Path, pid: int) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    about = {"pid": pid, "host": "127.0.0.1", "port": 8712, "run_id": "x"}
    (folder / "daemon.json").write_text(json.dumps(about))
    return {"AQUAHOST_RUNTIME_DIR": str(folder), "AQUAHOST_LOG_DIR": str(folder)}


def test_load_waits_for_all_and_reports_each_failure() -> None:
    api = Canned(
        a_snapshot(a_model("a", ModelState.UNLOADED), a_model("b", ModelState.FAILED, reason="old")),
        a_snapshot(a_model("a", ModelState.LOADING), a_model("b", ModelState.LOADING)),
        a_snapshot(a_model("a"), a_model("b", ModelState.FAILED, reason="no space")),
    )
    result = run_cli("load", "a", "b", api=api)
    assert api.asked == ["POST /control/models/a/load", "POST /control/models/b/load"]
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "aquahost: b failed: no space"


def test_load_need_not_wait() -> None:
    api = Canned(a_snapshot(a_model("org/a", ModelState.UNLOADED)))
    result = run_cli("load", "org/a", "--no-wait", api=api)
    assert result.exit_code == 0
    assert api.asked == ["POST /control/models/org/a/load"]


def test_a_model_unloaded_while_it_is_waited_for_is_no_endless_wait() -> None:
    states = [ModelState.UNLOADED, ModelState.LOADING, ModelState.UNLOADED]
    result = run_cli("load", "a", api=Canned(*(a_snapshot(a_model("a", state)) for state in states)))
    assert result.exit_code == 1
    assert "a is unloaded" in result.stderr


def test_nothing_is_loaded_when_one_name_is_wrong() -> None:
    api = Canned(a_snapshot(a_model("a")))
    assert run_cli("load", "a", "zzz", api=api).exit_code == 4
    assert api.asked == []


@pytest.mark.parametrize(("flags", "drain_s"), [((), 30.0), (("--drain", "5m"), 300.0), (("--now",), 0.0)])
def test_unload_drains_as_long_as_it_is_told(flags: tuple[str, ...], drain_s: float) -> None:
    api = Canned(a_snapshot(a_model("a"), a_model("b")))
    assert run_cli("unload", "a", "b", *flags, api=api).exit_code == 0
    assert api.bodies == [{"drain_s": drain_s}] * 2


def test_down_waits_until_the_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([True, True, True, False])
    monkeypatch.setattr("aquahost.cli.down.lives", lambda pid: pid == 4242 and next(looks))
    api = Canned(a_snapshot(a_model(), prompts=[a_prompt("1"), a_prompt("2")]))
    result = run_cli("down", "--drain", "7s", api=api)
    assert api.asked == ["POST /control/shutdown"]
    assert api.bodies == [{"drain_s": 7.0}]
    assert result.exit_code == 0
    assert result.stderr.splitlines() == ["draining: 2 live prompts", "the daemon has stopped"]


def test_down_gives_up_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aquahost.cli.down.lives", lambda pid: True)
    result = run_cli("down", api=Canned(a_snapshot()))
    assert result.exit_code == 1
    assert result.stderr == "aquahost: the daemon (pid 4242) still runs; end it with: aquahost down --now\n"


def test_down_now_escalates(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("aquahost.cli.down.lives", lambda pid: "SIGKILL" not in sent)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number.name))
    api = Canned(a_snapshot())
    result = run_cli("down", "--now", api=api)
    assert api.bodies == [{"drain_s": 0.0}]
    assert sent == ["SIGTERM", "SIGKILL"]
    assert result.exit_code == 0


def test_daemon_json_is_believed_only_of_a_living_aquahost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = daemon_json(tmp_path, os.getpid())
    assert read_daemon_file(env) == DaemonFile(pid=os.getpid(), host="127.0.0.1", port=8712)
    monkeypatch.setattr(daemon_process, "_is_aquahost", lambda pid: True)
    assert living_daemon(env) == os.getpid()
    monkeypatch.setattr(daemon_process, "_is_aquahost", lambda pid: False)
    assert living_daemon(env) is None
    assert living_daemon(daemon_json(tmp_path, NOBODY)) is None
    (tmp_path / "daemon.json").write_text("{")
    assert read_daemon_file(env) is None
    assert not lives(NOBODY)


def test_addresses_are_urls() -> None:
    assert DaemonFile(pid=1, host="127.0.0.1", port=8).url == "http://127.0.0.1:8"
    assert DaemonFile(pid=1, host="::1", port=8).url == "http://[::1]:8"


def test_logs_are_streamed_from_the_daemon() -> None:
    texts = {
        "GET /control/logs?lines=200&follow=false": httpx.Response(200, text="a\nb\n"),
        "GET /control/logs?lines=5&follow=true&model=org%2Fchat": httpx.Response(200, text="c\n"),
    }
    api = Canned(a_snapshot(), **texts)
    assert run_cli("logs", api=api).stdout == "a\nb\n"
    assert run_cli("logs", "org/chat", "-f", "-n", "5", api=api).stdout == "c\n"


def test_logs_of_a_dead_daemon_are_read_from_its_files(tmp_path: Path) -> None:
    env = daemon_json(tmp_path, NOBODY)
    (tmp_path / "daemon.log").write_bytes(b"1\n2\n\xff3\n")
    (tmp_path / "model-org%2Fchat.log").write_text("m\n")
    result = run_cli("logs", "-n", "2", env=env)
    assert result.exit_code == 0
    assert result.stdout == "2\n\ufffd3\n"
    assert "no daemon answers" in result.stderr
    assert run_cli("logs", "org/chat", env=env).stdout == "m\n"
    assert run_cli("logs", "-f", env=env).exit_code == 3
    assert run_cli("logs", "unknown", env=env).exit_code == 3

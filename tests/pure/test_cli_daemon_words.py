"""`load`, `unload`, `down` and `logs` without a real daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from aquahost.cli import daemon_process
from aquahost.cli.daemon_process import DaemonFile, lives, living_daemon, read_daemon_file
from aquahost.messages.snapshot import ModelState, ModelView
from aquahost.messages.wire import EngineStats
from cli_harness import Canned, a_model, a_prompt, a_snapshot, error, run_cli

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


def parked(name: str, where: str, **fields: Any) -> ModelView:
    return a_model(name, stats=EngineStats(parked=where, **fields))


def test_park_says_where_each_model_s_weights_have_gone() -> None:
    awake = a_snapshot(a_model("a"), a_model("b"))
    api = Canned(awake, awake, a_snapshot(parked("a", "GPU 3"), a_model("b")), a_snapshot(parked("b", "host")))
    result = run_cli("park", "a", "b", "a", api=api)
    assert (result.exit_code, api.asked) == (0, ["POST /control/models/a/park", "POST /control/models/b/park"])
    assert result.stderr.splitlines() == ["a: parked on GPU 3", "b: parked in host memory"]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (a_model("a", queue=1), "a prompt has come; it stays awake"),
        (a_model("a", pinned=True), "it has been pinned"),
        (a_model("a", ModelState.LOADING), "it is loading"),
        (a_model("a"), "not yet, after 60 s; see `aquahost logs a`"),
    ],
    ids=["prompt", "pinned", "restarted", "never"],
)
def test_park_says_why_a_model_stays(model: ModelView, why: str) -> None:
    result = run_cli("park", "a", api=Canned(a_snapshot(model)))
    assert (result.exit_code, result.stderr) == (1, f"aquahost: a: {why}\n")


def test_what_the_daemon_refuses_is_told() -> None:
    answer = error(409, "the model 'a' is pinned", code="pinned")
    result = run_cli("park", "a", api=Canned(a_snapshot(a_model("a")), **{"POST /control/models/a/park": answer}))
    assert (result.exit_code, result.stderr) == (1, "aquahost: the model 'a' is pinned\n")


def test_wake_waits_for_the_weights_or_says_what_keeps_them() -> None:
    away = a_snapshot(parked("a", "host"))
    result = run_cli("wake", "a", api=Canned(away, away, a_snapshot(a_model("a"))))
    assert (result.exit_code, result.stderr) == (0, "a: awake on GPU 0\n")
    result = run_cli("wake", "a", api=Canned(a_snapshot(parked("a", "host", stuck="its GPU is full"))))
    assert (result.exit_code, result.stderr) == (1, "aquahost: a: its GPU is full\n")


def test_pin_and_unpin_and_what_ps_shows_of_it() -> None:
    api = Canned(a_snapshot(a_model("a", pinned=True)))
    assert run_cli("pin", "a", api=api).stderr == "a: pinned\n"
    assert run_cli("unpin", "a", api=api).stderr == "a: unpinned\n"
    assert api.asked == ["POST /control/models/a/pin", "POST /control/models/a/unpin"]
    assert "ready for 1m 05s; pinned" in run_cli("ps", api=api).stdout


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

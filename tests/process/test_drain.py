"""A daemon that is asked to end: who may go on and for how long, and what is left behind of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from aquahost.daemon.journal import read_journal
from cli_harness import run_cli
from daemon_fixtures import (
    ServedDaemon,
    collect,
    ending,
    ready,
    running_daemon,
    served_daemon,
    text_of,
    toy,
    view,
    wait_until,
    worker_pid,
)
from daemon_fixtures import ask as ask_daemon


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


def body(max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"model": "chat", "stream": True, "max_tokens": max_tokens, "messages": messages}


@contextmanager
def client_of(daemon: ServedDaemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{daemon.info.port}", trust_env=False) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        yield client


def test_while_it_drains_it_is_not_ready_and_prompts_that_live_end_well(places: Path) -> None:
    with served_daemon(places, {"chat": toy(step_s=0.01)}, drain_s=60) as daemon, client_of(daemon) as client:
        with client.stream("POST", "/v1/chat/completions", json=body(150)) as reply:
            lines = reply.iter_lines()
            next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert client.get("/readyz").json()["problems"] == ["the daemon is shutting down"]
            assert client.get("/healthz").status_code == 200
            refused = client.post("/v1/chat/completions", json=body(1))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
            assert int(refused.headers["retry-after"]) > 0
            assert 'aquahost_prompts_refused_total{model="chat",status="503"} 1.0' in client.get("/metrics").text
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert daemon.process.wait(timeout=20) == 0


def test_prompts_that_take_longer_than_drain_s_are_ended(places: Path) -> None:
    with served_daemon(places, {"chat": toy(step_s=0.01)}, drain_s=0.2) as daemon, client_of(daemon) as client:
        with client.stream("POST", "/v1/chat/completions", json=body(10**9)) as reply:
            lines = reply.iter_lines()
            next(lines)
            daemon.process.send_signal(signal.SIGTERM)
            rest = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
        assert "error" in rest[-1]
        assert daemon.process.wait(timeout=20) == 0


def test_logs_are_json_and_events_outlive_the_daemon(places: Path) -> None:
    began = datetime.now().astimezone()
    for _ in range(2):
        with served_daemon(places, {"chat": toy()}, log_format="json") as daemon, client_of(daemon) as client:
            assert client.post("/v1/chat/completions", json={**body(2), "stream": False}).status_code == 200
            daemon.process.terminate()
            assert daemon.process.wait(timeout=20) == 0
    logs = places / "state" / "logs"
    lines = [json.loads(line) for line in (logs / "daemon.log").read_text().splitlines()]
    assert {"chat is ready", "stopped"} <= {line["message"] for line in lines}
    assert next(line for line in lines if line["message"] == "chat is ready")["model"] == "chat"
    worker = [json.loads(line) for line in (logs / "model-chat.log").read_text().splitlines()]
    assert {line["model"] for line in worker} == {"chat"}

    env = {"AQUAHOST_STATE_DIR": str(places / "state"), "AQUAHOST_SOCKET": "/nonexistent/socket"}
    told = json.loads(run_cli("events", "--since", began.isoformat(), "-o", "json", env=env).stdout)
    kinds = [event["kind"] for event in told]
    assert kinds.count("daemon.started") == kinds.count("prompt.finished") == 2
    assert len({event["run"] for event in told}) == 2
    assert "chat is ready" in run_cli("events", "--since", "1h", env=env).stdout
    assert json.loads(run_cli("events", "--since", "2200-01-01", "-o", "json", env=env).stdout) == []
    assert run_cli("events", "--since", "soon", env=env).exit_code == 2


def test_a_state_folder_that_breaks_costs_logs_and_journal_only(places: Path) -> None:
    with served_daemon(places, {"chat": toy(), "late": toy(autoload=False)}) as daemon, client_of(daemon) as client:
        journal = places / "state" / "events.jsonl"
        wait_until(lambda: any(event.message == "chat is ready" for event in read_journal(journal)))
        (places / "state").rename(places / "away")
        (places / "state").write_text("not a folder any more")
        wait_until(lambda: client.post("/v1/chat/completions", json={**body(2), "model": "late"}).status_code == 200)
        log = places / "away" / "logs" / "daemon.log"  # open since before
        wait_until(lambda: "the journal" in log.read_text())
        assert client.get("/healthz").status_code == 200
        (places / "state").unlink()
        (places / "away").rename(places / "state")
        wait_until(lambda: any(event.message == "late is ready" for event in read_journal(journal)))
        said = (places / "state" / "logs" / "daemon.log").read_text()
        assert said.count("cannot be written") == 2  # the journal, and the log of the worker that came meanwhile


async def test_the_wall_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        pid = worker_pid(daemon, "chat")
        for jump_s in (86_400.0, -86_400.0, 1e9):
            stream = ask_daemon(daemon, "chat", max_tokens=20)
            monkeypatch.setattr(time, "time", lambda jump_s=jump_s: now() + jump_s)
            outputs = await collect(stream)
            assert len(text_of(outputs).split()) == 20
            assert ending(outputs).error is None
        await ready(daemon, "chat")
        assert (worker_pid(daemon, "chat"), view(daemon, "chat").restarts) == (pid, 0)
        assert daemon.snapshot().uptime_s < 3600

"""Durable jobs of a real daemon that is killed, drained and started again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from aquahost.client import Client
from aquahost.messages.jobs import JobState
from cli_process import PATIENCE_S, CliProcess, cli_process

TOYS = """
  toy: {{kind: toy, toy: {{load_s: 0.05, step_s: {step_s}}}}}
  lazy: {{kind: toy, autoload: false, toy: {{load_s: 0.05, step_s: {step_s}}}}}
"""
SLOW_S, FAST_S = 0.05, 0.0005
"""A step of a daemon that is to be stopped before a long job has ended, and of the one after it."""
LONG = 2000
"""Tokens of a long job."""


@pytest.fixture
def cli() -> Iterator[CliProcess]:
    """Commands with a running daemon."""
    with cli_process() as cli:
        start(cli, SLOW_S)
        yield cli


def start(cli: CliProcess, step_s: float) -> None:
    up = cli.run("up", "-d", "--wait", "--models", cli.models(TOYS.format(step_s=step_s)))
    assert up.returncode == 0, up.stderr


def jobs(cli: CliProcess) -> dict[str, Any]:
    return {job["id"]: job for job in json.loads(cli.run("jobs", "-o", "json").stdout)}


def wait_until_running(cli: CliProcess, job: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    with Client(Path(cli.about()["socket"])) as client:
        while (state := client.jobs.get(job).state) is not JobState.RUNNING:
            assert time.monotonic() < deadline_s, f"the job is {state}"
            time.sleep(0.02)


def lines(count: int) -> bytes:
    body = {"model": "toy", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 60}
    asked = ({"custom_id": f"{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(count))
    return b"".join(json.dumps(line).encode() + b"\n" for line in asked)


def client_of(cli: CliProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{cli.about()['port']}/v1", api_key="any", max_retries=0)


def test_jobs_and_batches_outlive_a_killed_daemon(cli: CliProcess) -> None:
    quick = cli.run("submit", "toy", "Hi", "--max-tokens", "3", "--seed", "1").stdout.strip()
    assert cli.run("wait", quick).returncode == 0
    before = cli.run("result", quick).stdout
    long = cli.run("submit", "toy", "Tell me more", "--max-tokens", str(LONG)).stdout.strip()
    waiting = cli.run("submit", "lazy", "Hi", "--max-tokens", "3").stdout.strip()
    with client_of(cli) as client:
        file = client.files.create(file=("in.jsonl", lines(20)), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    wait_until_running(cli, long)
    os.kill(cli.about()["pid"], signal.SIGKILL)
    start(cli, FAST_S)
    assert cli.run("wait", long, waiting, "--timeout", "50s").returncode == 0
    found = jobs(cli)
    assert {found[job]["state"] for job in (quick, long, waiting)} == {"completed"}
    assert found[long]["attempts"] == 2
    assert found[quick]["attempts"] == 1
    assert cli.run("result", quick).stdout == before
    assert len(cli.run("result", long).stdout.split()) == LONG
    with client_of(cli) as client:
        deadline_s = time.monotonic() + PATIENCE_S
        while (now := client.batches.retrieve(batch.id)).status != "completed":
            assert time.monotonic() < deadline_s, now.status
            time.sleep(0.1)
        assert now.output_file_id is not None
        replies = [json.loads(line) for line in client.files.content(now.output_file_id).content.splitlines()]
    assert [reply["custom_id"] for reply in replies] == [str(n) for n in range(20)]
    assert now.error_file_id is None


def test_a_job_cut_short_by_the_daemon_s_end_runs_again_and_a_broken_database_is_one_clear_line(
    cli: CliProcess,
) -> None:
    job = cli.run("submit", "toy", "Tell me more", "--max-tokens", str(LONG)).stdout.strip()
    wait_until_running(cli, job)
    assert cli.run("down", "--now").returncode == 0
    start(cli, FAST_S)
    assert cli.run("wait", job, "--timeout", "40s").returncode == 0, cli.run("logs").stdout
    assert len(cli.run("result", job).stdout.split()) == LONG
    assert cli.run("down", "--now").returncode == 0
    (cli.folder / "state" / "jobs" / "jobs.sqlite").write_bytes(b"no database" * 1000)
    up = cli.run("up", "-d", "--wait", "--models", cli.models(TOYS.format(step_s=FAST_S)))
    assert up.returncode == 1
    assert "jobs.sqlite cannot be read (file is not a database); move the file away" in up.stderr
    assert "Traceback" not in up.stderr

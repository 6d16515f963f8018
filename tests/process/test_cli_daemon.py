"""The commands against a real daemon with toy models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost.cli.daemon_process import lives
from cli_process import PATIENCE_S, CliProcess, cli_process

TOYS = """
  toy: {kind: toy, toy: {load_s: 0.1, step_s: 5ms}}
  idle: {kind: toy, autoload: false, toy: {load_s: 0.1, step_s: 1ms}}
  broken: {kind: toy, autoload: false, toy: {load_s: 0, fail: no luck}}
  narrow: {kind: toy, max_queue: 1, toy: {load_s: 0, step_s: 5ms}}
"""


@pytest.fixture
def own() -> Iterator[CliProcess]:
    """Commands without a daemon yet."""
    with cli_process() as cli:
        yield cli


@pytest.fixture(scope="module")
def cli() -> Iterator[CliProcess]:
    """Commands with a daemon whose models are loaded."""
    with cli_process() as cli:
        up = cli.run("up", "-d", "--wait", "--models", cli.models(TOYS))
        assert up.returncode == 0, up.stderr
        assert up.stdout == ""
        assert "toy: ready (GPU " in up.stderr
        assert "EMULATED" in up.stderr
        yield cli


def prompts(cli: CliProcess) -> list[str]:
    return cli.run("queue", "-q").stdout.split()


def wait_for_prompt(cli: CliProcess) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := prompts(cli)):
        assert time.monotonic() < deadline, "no prompt came"
    return found[0]


def test_listings_agree(cli: CliProcess) -> None:
    names = ["toy", "idle", "broken", "narrow"]
    assert cli.run("ps", "-q").stdout.split() == names
    whole = json.loads(cli.run("status", "-o", "json").stdout)
    assert [model["name"] for model in whole["models"]] == names
    assert len(json.loads(cli.run("gpus", "-o", "json").stdout)) == 2
    assert f"http://127.0.0.1:{cli.about()['port']}" in cli.run("status").stdout
    assert "toy is ready" in cli.run("events").stdout
    assert "toy is ready" in cli.run("logs").stdout
    assert "ready" in cli.run("logs", "toy").stdout


def test_run_streams_text(cli: CliProcess) -> None:
    done = cli.run("run", "toy", "--max-tokens", "4", stdin="Hello")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4
    assert done.stdout.endswith("\n")


def test_run_load_and_unload_by_need(cli: CliProcess) -> None:
    done = cli.run("run", "idle", "Hello", "--max-tokens", "2")
    assert done.returncode == 0, done.stderr
    assert "idle: ready" in done.stderr
    assert cli.run("unload", "idle").returncode == 0
    assert json.loads(cli.run("ps", "idle", "-o", "json").stdout)[0]["state"] == "unloaded"
    assert cli.run("load", "idle").returncode == 0


def test_a_model_that_fails_says_why(cli: CliProcess) -> None:
    done = cli.run("load", "broken")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "aquahost: broken failed: no luck"
    assert "no luck" in cli.run("ps", "broken").stdout
    assert cli.run("run", "broken", "Hi").returncode == 1


def test_cancel_ends_a_prompt_and_its_command(cli: CliProcess) -> None:
    with cli.begin("run", "toy", "Hello", "--max-tokens", "100000") as asking:
        prompt_id = wait_for_prompt(cli)
        assert cli.run("cancel", prompt_id).stdout == f"{prompt_id}\n"
        _, stderr = asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode == 1
    assert stderr == "aquahost: the prompt was cancelled\n"
    assert cli.run("cancel", prompt_id).returncode == 4


def test_interrupting_run_cancels_its_prompt(cli: CliProcess) -> None:
    with cli.begin("run", "toy", "Hello", "--max-tokens", "100000") as asking:
        wait_for_prompt(cli)
        asking.send_signal(signal.SIGINT)
        _, stderr = asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode == 130
    assert stderr == ""
    deadline = time.monotonic() + PATIENCE_S
    while prompts(cli):
        assert time.monotonic() < deadline


def test_a_full_queue_is_5(cli: CliProcess) -> None:
    with cli.begin("run", "narrow", "Hello", "--max-tokens", "100000") as asking:
        wait_for_prompt(cli)
        done = cli.run("run", "narrow", "Hello")
        asking.send_signal(signal.SIGINT)
        asking.communicate(timeout=PATIENCE_S)
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_leaves_is_no_fault(cli: CliProcess) -> None:
    with cli.begin("events", "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline()
        following.stdout.close()
        cli.run("run", "toy", "Hello", "--max-tokens", "1")  # something to write
        following.wait(PATIENCE_S)
        assert following.stderr is not None
        assert following.stderr.read() == ""


def test_completion_knows_the_models(cli: CliProcess) -> None:
    variables = {"_AQUAHOST_COMPLETE": "complete_bash", "COMP_WORDS": "aquahost run i", "COMP_CWORD": "2"}
    assert cli.run(**variables).stdout.split() == ["idle"]


def test_a_second_daemon_is_refused_in_one_line(cli: CliProcess) -> None:
    for flags in (("-d",), ()):
        done = cli.run("up", *flags, "--models", cli.models(TOYS))
        assert done.returncode == 1
        assert str(cli.about()["pid"]) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_up_and_down_and_nothing_is_left(own: CliProcess) -> None:
    assert own.run("down").returncode == 3
    assert own.run("up", "-d", "--wait", "--models", own.models(TOYS)).returncode == 0
    pid = own.about()["pid"]
    workers = own.worker_pids()
    assert len(workers) >= 2
    done = own.run("down")
    assert done.returncode == 0
    assert done.stderr == "the daemon has stopped\n"
    assert not any(lives(process) for process in (pid, *workers))
    assert own.run("ps").returncode == 3
    assert "toy is ready" in own.run("logs").stdout  # what it left behind


def test_up_in_the_foreground_ends_cleanly_when_interrupted(own: CliProcess) -> None:
    with own.begin("up", "--models", own.models(TOYS)) as daemon:
        deadline = time.monotonic() + PATIENCE_S
        while own.run("ps").returncode:
            assert daemon.poll() is None, daemon.communicate()[1]
            assert time.monotonic() < deadline
        daemon.send_signal(signal.SIGINT)
        stdout, stderr = daemon.communicate(timeout=PATIENCE_S)
    assert daemon.returncode == 0
    assert stdout == ""
    assert "EMULATED" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("flags", [(), ("-d",)], ids=["foreground", "background"])
def test_a_taken_port_is_one_line_and_1(flags: tuple[str, ...], own: CliProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = own.run("up", *flags, "--port", port, "--models", own.models(TOYS))
    assert done.returncode == 1
    assert done.stderr.startswith(f"aquahost: port {port} on 127.0.0.1 is taken")
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_in_a_variable_stops_up_before_anything_starts(own: CliProcess) -> None:
    done = own.run("up", "-d", "--models", own.models(TOYS), AQUAHOST_HOST__PORT="x")
    assert done.returncode == 2
    assert done.stderr.startswith("AQUAHOST_HOST__PORT: host.port: ")
    assert not (own.folder / "run").exists()


@pytest.mark.parametrize(("variable", "flags"), [("AQUAHOST_RUNTIME_DIR", ()), ("AQUAHOST_LOG_DIR", ("-d",))])
def test_a_folder_that_cannot_be_written_is_one_line_and_1(
    variable: str, flags: tuple[str, ...], own: CliProcess
) -> None:
    (own.folder / "file").write_text("")
    done = own.run("up", *flags, "--models", own.models(TOYS), **{variable: f"{own.folder}/file/x"})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_up_wait_fails_with_the_reason_and_leaves_the_others(own: CliProcess) -> None:
    models = "  good: {kind: toy, toy: {load_s: 0}}\n  bad: {kind: toy, toy: {load_s: 0, fail: no such weights}}\n"
    done = own.run("up", "--wait", "--models", own.models(models))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "aquahost: bad failed: no such weights"
    assert own.run("run", "good", "Hi", "--max-tokens", "1").returncode == 0


def test_down_ends_a_daemon_whose_socket_is_gone(own: CliProcess) -> None:
    assert own.run("up", "-d", "--wait", "--models", own.models(TOYS)).returncode == 0
    pid = own.about()["pid"]
    (own.folder / "run" / "aquahost.sock").unlink()
    done = own.run("down", "--drain", "1s")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == f"the daemon (pid {pid}) does not answer; ending it by signal"
    assert not lives(pid)


def test_down_now_kills_a_daemon_that_is_stopped(own: CliProcess) -> None:
    assert own.run("up", "-d", "--models", own.models(TOYS)).returncode == 0
    pid = own.about()["pid"]
    workers = own.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    done = own.run("down", "--now")
    assert done.returncode == 0, done.stderr
    assert not lives(pid)
    deadline = time.monotonic() + PATIENCE_S
    while any(lives(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its daemon"
        time.sleep(0.02)


def test_a_daemon_survives_the_terminal_it_was_started_from(own: CliProcess) -> None:
    line = own.line("up", "-d", "--models", own.models(TOYS))
    starter = subprocess.Popen(line, env=own.env, start_new_session=True, stderr=subprocess.DEVNULL)
    assert starter.wait(PATIENCE_S) == 0
    assert os.getsid(own.about()["pid"]) != starter.pid
    assert own.run("ps").returncode == 0
    assert Path(f"/proc/{own.about()['pid']}/fd/0").readlink() == Path("/dev/null")


@pytest.mark.parametrize("words", [("config", "schema"), ("--help",), ("--version",)], ids=" ".join)
def test_output_that_goes_nowhere_is_no_traceback(words: tuple[str, ...], own: CliProcess) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            own.line(*words), env=own.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "aquahost: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(own.line(*words), env=own.env, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")

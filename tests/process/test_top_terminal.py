"""The real `aquahost top` in a terminal, against a real daemon with toy models."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli_process import PATIENCE_S, CliProcess, cli_process
from terminal import terminal

TOYS = "  toy: {kind: toy, toy: {load_s: 0, step_s: 5ms}}\n"
OTHERS = "  another: {kind: toy, toy: {load_s: 0, step_s: 5ms}}\n"


@pytest.fixture(scope="module")
def cli() -> Iterator[CliProcess]:
    """Commands with a daemon whose model is loaded."""
    with cli_process() as cli:
        up = cli.run("up", "-d", "--wait", "--models", cli.models(TOYS))
        assert up.returncode == 0, up.stderr
        yield cli


@pytest.fixture
def own() -> Iterator[CliProcess]:
    """Commands without a daemon yet."""
    with cli_process() as cli:
        yield cli


@contextmanager
def asking(cli: CliProcess) -> Iterator[subprocess.Popen[str]]:
    """A prompt that would take minutes."""
    asked = cli.begin("run", "toy", "Hello", "--max-tokens", "100000")
    try:
        yield asked
    finally:
        asked.kill()
        asked.communicate()


def test_a_prompt_is_seen_and_cancelled(cli: CliProcess) -> None:
    with terminal(cli.line("top"), cli.env) as screen:
        screen.until("● toy ready")
        assert "EMULATED" in screen.text()
        with asking(cli) as asked:
            screen.until("running")
            (prompt,) = cli.run("queue", "-q").stdout.split()
            screen.until(prompt[:8])
            screen.press("4")
            screen.until("its whole life")
            screen.press("c")
            screen.until("Yes (y)")
            screen.press("y")
            screen.until("is cancelled")
            asked.communicate(timeout=PATIENCE_S)
            assert asked.returncode != 0
        assert cli.run("queue", "-q").stdout == ""
        screen.press("q")
        assert screen.end() == 0
        assert screen.is_restored()
        assert b"Traceback" not in screen.written


def test_it_waits_for_a_daemon_and_survives_its_restart(own: CliProcess) -> None:
    with terminal(own.line("top"), own.env) as screen:
        screen.until("start one with: aquahost up -d")
        assert own.run("up", "-d", "--models", own.models(TOYS)).returncode == 0
        screen.until("● toy ready")
        assert own.run("down", "--now").returncode == 0
        assert "toy" in screen.until("reconnecting"), "what was known stays"
        assert own.run("up", "-d", "--models", own.models(OTHERS)).returncode == 0
        screen.until("● another ready")
        screen.until("reconnecting", gone=True)
        screen.press("2")  # models alone: events of the daemon before may still tell of toy
        assert not re.search("│ toy ", screen.until("WEIGHTS"))
        screen.press("q")
        assert screen.end() == 0


def test_the_log_of_a_model_is_followed(cli: CliProcess) -> None:
    with terminal(cli.line("top"), cli.env) as screen:
        screen.until("● toy ready")
        screen.press("7")
        screen.until("daemon.started")
        screen.press("]")
        screen.until("INFO")
        screen.press("q")
        assert screen.end() == 0


def test_a_picture_in_a_pipe_is_plain_text(cli: CliProcess) -> None:
    line = " ".join(cli.line("top", "--once"))
    done = subprocess.run(f"{line} | cat", shell=True, env=cli.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "● toy ready" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_picture_on_a_terminal_fits_it_and_has_colours(cli: CliProcess) -> None:
    with terminal(cli.line("top", "--once"), cli.env, 100, 30) as screen:
        assert screen.end() == 0
        assert "● toy ready" in screen.text()
        assert b"\x1b[1;" in screen.written
        assert screen.written.count(b"\r\n") == 30
        assert b"\x1b[?1049h" not in screen.written
    with terminal(cli.line("top", "--once"), {**cli.env, "NO_COLOR": "1"}, 100, 30) as screen:
        assert screen.end() == 0
        assert b"\x1b[" not in screen.written


@pytest.mark.parametrize("name", ["seen.jsonl", "seen.jsonl.gz"])
def test_what_was_recorded_is_played(name: str, cli: CliProcess) -> None:
    path = cli.folder / name
    with terminal(cli.line("top", "--record", str(path), "--per-s", "20"), cli.env) as screen:
        screen.until("● toy ready")
        screen.press("7")
        screen.until("daemon.started")
        screen.press("q")
        assert screen.end() == 0
    with terminal(cli.line("top", "--replay", str(path), "--speed", "5"), {**cli.env, **nobody(cli)}) as screen:
        screen.until(f"replay of {name}")
        screen.until("● toy ready")
        screen.until("the recording has ended")
        screen.press("l")
        screen.until("there is nothing to steer")
        screen.press("q")
        assert screen.end() == 0
    once = cli.run("top", "--once", "--replay", str(path), **nobody(cli))
    assert once.returncode == 0, once.stderr
    assert "● toy ready" in once.stdout


def nobody(cli: CliProcess) -> dict[str, str]:
    return {"AQUAHOST_SOCKET": str(cli.folder / "nobody.sock")}


def test_a_recording_that_cannot_be_written_is_told(cli: CliProcess) -> None:
    with terminal(cli.line("top", "--record", "/nonexistent/x"), cli.env) as screen:
        assert screen.end() == 2
        assert b"there is no folder /nonexistent" in screen.written
    with terminal(cli.line("top", "--record", "/dev/full"), cli.env) as screen:
        assert screen.end() == 1
        assert screen.is_restored()
        assert screen.written.endswith(b"aquahost: cannot write /dev/full: No space left on device\r\n")
        assert b"Traceback" not in screen.written


@pytest.mark.parametrize("way", ["ctrl-c", "SIGTERM"])
def test_every_way_of_leaving_restores_the_terminal(way: str, cli: CliProcess) -> None:
    with terminal(cli.line("top"), cli.env) as screen:
        screen.until("● toy ready")
        if way == "ctrl-c":
            screen.press("\x03")
        else:
            screen.process.send_signal(signal.SIGTERM)
        assert screen.end() == (0 if way == "ctrl-c" else 143)
        assert screen.is_restored()
        assert b"Traceback" not in screen.written


def test_sixteen_colours_are_enough(cli: CliProcess) -> None:
    env = {**cli.env, "FORCE_COLOR": ""}
    line = ["env", "TERM=xterm", "COLORTERM=", *cli.line("top")]
    with terminal(line, env) as screen:
        screen.until("● toy ready")
        screen.press("q")
        assert screen.end() == 0
        assert b"38;2;" not in screen.written
        assert b"38;5;" not in screen.written


def test_without_colours_sixteen_are_not_all_black(cli: CliProcess) -> None:
    line = ["env", "-u", "COLORTERM", "-u", "FORCE_COLOR", "TERM=xterm", "NO_COLOR=1", *cli.line("top")]
    with terminal(line, cli.env) as screen:
        screen.until("● toy ready")
        screen.press("q")
        assert screen.end() == 0
        assert b"39;49m" in screen.written
        assert not re.search(rb"\x1b\[(?:\d+;)*[34][0-7]m", screen.written)


def test_what_is_no_utf_8_is_dropped(cli: CliProcess) -> None:
    with terminal(cli.line("top"), cli.env) as screen:
        screen.until("● toy ready")
        screen.press_bytes(b"\xff\xe9a")
        time.sleep(0.3)  # what comes in the same breath is dropped too
        screen.press("?")
        screen.until("help: overview")
        screen.press("\x1b")
        screen.until("help: overview", gone=True)
        screen.press("q")
        assert screen.end() == 0


def test_a_window_that_becomes_too_small_is_told(cli: CliProcess) -> None:
    with terminal(cli.line("top"), cli.env) as screen:
        screen.until("● toy ready")
        screen.resize(50, 10)
        screen.until("50×10; needs 64×16")
        screen.resize(100, 30)
        screen.until("● toy ready")
        screen.press("q")
        assert screen.end() == 0

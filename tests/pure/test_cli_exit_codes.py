"""What a command's end says, for every kind of fault; one line each, never a traceback."""

from __future__ import annotations

import httpx
import pytest

from aquahost.cli.exits import MEANINGS, ExitCode
from aquahost.messages.snapshot import ModelState
from cli_harness import Answer, Canned, a_model, a_snapshot, chat_reply, error, run_cli, sse

CHAT = "POST /v1/chat/completions"
CLIENT_COMMANDS = (
    ("ps",),
    ("status",),
    ("gpus",),
    ("leases",),
    ("queue",),
    ("events",),
    ("logs",),
    ("down",),
    ("load", "chat"),
    ("unload", "chat"),
    ("park", "chat"),
    ("wake", "chat"),
    ("pin", "chat"),
    ("unpin", "chat"),
    ("cancel", "p1"),
    ("run", "chat", "Hi"),
)


def interrupted(request: httpx.Request) -> httpx.Response:
    raise KeyboardInterrupt


def closed(request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("server disconnected", request=request)


def slow(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("timed out", request=request)


@pytest.mark.parametrize("words", CLIENT_COMMANDS, ids=" ".join)
def test_without_a_daemon_every_command_says_how_to_start_one(words: tuple[str, ...]) -> None:
    result = run_cli(*words)
    assert result.exit_code == ExitCode.UNREACHABLE
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "no daemon" in line
    assert words == ("down",) or "aquahost up -d" in line


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (chat_reply("Hi"), 0, ""),
        (error(400, "'temperature' must be at most 2"), 1, "aquahost: 'temperature' must be at most 2\n"),
        (error(401, "the API key is wrong"), 1, "aquahost: the API key is wrong\n"),
        (error(404, "no model", code="model_not_found"), 4, "aquahost: no model\n"),
        (error(429, "the queue is full: 3 prompts"), 5, "aquahost: the queue is full: 3 prompts\n"),
        (error(500, "a bug"), 1, "aquahost: a bug\n"),
        (error(503, "draining"), 1, "aquahost: draining\n"),
        (httpx.Response(502, text="<html>"), 1, "aquahost: the daemon answered with status 502\n"),
        (sse({"error": {"message": "worker died", "type": "server_error"}}), 1, "aquahost: worker died\n"),
        (sse({"error": {"message": "full", "type": "rate_limit_error"}}), 5, "aquahost: full\n"),
        (closed, 3, "aquahost: the daemon closed the connection; look into: aquahost logs\n"),
        (slow, 3, "aquahost: the daemon at /nonexistent/socket does not answer; look into: aquahost logs\n"),
        (interrupted, 130, ""),
    ],
)
def test_what_the_api_says_decides(answer: Answer, code: int, message: str) -> None:
    result = run_cli("run", "chat", "Hi", api=Canned(a_snapshot(a_model()), **{CHAT: answer}))
    assert result.exit_code == code
    assert result.stderr == message


@pytest.mark.parametrize(
    "words",
    [
        ("pss",),
        ("ps", "--nope"),
        ("ps", "-o", "xml"),
        ("run",),
        ("run", "chat", ""),
        ("run", "chat", "Hi", "--max-tokens", "many"),
        ("run", "chat", "Hi", "--steps", "3"),
        ("run", "chat", "Hi", "--temperature", "nan"),
        ("run", "chat", "Hi", "--top-p", "inf"),
        ("run", "chat", "Hi", "--stop", "\udcff"),
        ("run", "chat", "Hi", "--system", "\udcff"),
        ("unload", "chat", "--drain", "999999999999999999"),
        ("down", "--drain", "9999h"),
        ("run", "chat", "Hi", "-o", "/nonexistent/folder/x.txt"),
        ("unload", "chat", "--drain", "soon"),
        ("up", "--driver", "rocm"),
        ("up", "--port", "70000"),
        ("up", "--models", "/nonexistent/models.yaml"),
        ("up", "--models", "x", "--demo"),
        ("config", "check", "/nonexistent/models.yaml"),
        ("logs", "-n", "-1"),
        (),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(words: tuple[str, ...]) -> None:
    result = run_cli(*words, api=Canned(a_snapshot(a_model())))
    assert result.exit_code == ExitCode.USAGE
    assert "Traceback" not in result.output


@pytest.mark.parametrize("word", ["load", "unload", "park", "wake", "pin", "unpin", "run", "ps", "queue", "leases"])
def test_an_unknown_model_is_4(word: str) -> None:
    words = [word, "caht", *(["Hi"] if word == "run" else [])]
    result = run_cli(*words, api=Canned(a_snapshot(a_model())))
    assert result.exit_code == ExitCode.NOT_FOUND
    assert result.stderr == "aquahost: no model is named caht; did you mean chat?\n"


def test_a_snapshot_of_another_version_is_explained() -> None:
    api = Canned(a_snapshot())
    result = run_cli("logs", api=api)
    assert result.exit_code == 0

    def strange(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"schema_version": 99})

    result = run_cli("ps", api=strange)  # type: ignore[arg-type]
    assert result.exit_code == ExitCode.FAILED
    assert "of another version; restart it" in result.stderr


def test_a_model_that_fails_to_load_is_1() -> None:
    api = Canned(a_snapshot(a_model(state=ModelState.FAILED, reason="no such folder")))
    assert run_cli("load", "chat", api=api).exit_code == 1
    result = run_cli("run", "chat", "Hi", api=api)
    assert result.exit_code == 1
    assert result.stderr == "aquahost: chat failed: no such folder\n"


def test_help_lists_every_exit_code() -> None:
    text = " ".join(run_cli("--help").stdout.split())
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"{int(code)} {meaning}" in text

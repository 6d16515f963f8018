"""What users write is found nowhere but in their replies: not in logs, events, figures or snapshots."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aquahost.demo.make import demo_model_path
from daemon_fixtures import ServedDaemon, served_daemon, wait_until

MARK = "zebra-4711-quokka"
KEY = "key-with-zebra-4712"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"My secret is {MARK}."}]
CHAT = "/v1/chat/completions"
ASKED: list[tuple[str, dict[str, Any], int]] = [
    (CHAT, {"model": "chat", "messages": MESSAGES, "max_tokens": 4, "stop": [MARK], "user": MARK}, 200),
    (CHAT, {"model": "chat", "messages": MESSAGES, "max_tokens": 4, "stream": True}, 200),
    (CHAT, {"model": "chat", "messages": MESSAGES, "max_tokens": MARK}, 400),
    (CHAT, {"model": "chat", "messages": MESSAGES, MARK: MARK}, 400),
    (CHAT, {"model": "chat", "messages": [{"role": MARK, "content": MARK}]}, 400),
    (CHAT, {"model": MARK, "messages": MESSAGES}, 404),
    (CHAT, {"model": "chat", "messages": [{"role": "system", "content": MARK}]}, 400),
    (CHAT, {"model": "chat", "messages": [{"role": "assistant", "content": MARK}]}, 400),
    ("/v1/completions", {"model": "chat", "prompt": f"{MARK} " * 2000, "max_tokens": 4}, 400),
    ("/v1/completions", {"model": "chat", "prompt": MARK, "echo": True, "logprobs": 2, "max_tokens": 4}, 200),
    ("/v1/completions", {"model": "paint", "prompt": MARK}, 400),
    ("/v1/images/generations", {"model": "paint", "prompt": MARK, "negative_prompt": MARK, "size": "64x64"}, 200),
    ("/v1/images/generations", {"model": "paint", "prompt": MARK, "size": MARK}, 400),
]


TEMPLATE = """
{%- if messages[0].role == "system" and messages|length == 1 %}{{ raise_exception("no: " + messages[0].content) }}
{%- elif messages[0].role == "assistant" %}{{ ("{" ~ messages[0].content ~ "}").format() }}{% endif -%}
{% for message in messages %}{{ message.role }}: {{ message.content }}
{% endfor %}"""
"""Refuses a system message alone, and breaks over one that an assistant begins, both in words that quote them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("p")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServedDaemon]:
    shutil.copytree(demo_model_path("chat"), folder / "chat")
    (folder / "chat" / "chat_template.jinja").write_text(TEMPLATE)
    models: dict[str, dict[str, Any]] = {
        "chat": {"kind": "llm", "source": str(folder / "chat"), "kv_bytes": "8MiB", "max_context": 512},
        "paint": {"kind": "image", "source": "demo:paint", "steps": 2},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQUAHOST_LOG_LEVEL", "DEBUG")
        with served_daemon(folder, models) as daemon:
            url = f"http://127.0.0.1:{daemon.info.port}"
            wait_until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200, patience_s=90)
            yield daemon


def kept(folder: Path) -> dict[str, bytes]:
    """Every file that the daemon and its workers have written."""
    paths = [path for part in ("run", "state") for path in (folder / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_no_prompt_is_kept_or_shown(served: ServedDaemon, folder: Path) -> None:
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{served.info.port}", trust_env=False, timeout=60) as client,
        httpx.Client(transport=httpx.HTTPTransport(uds=served.info.socket), base_url="http://daemon") as local,
    ):
        for route, body, status in ASKED:
            reply = client.post(route, json=body, headers={"authorization": f"Bearer {KEY}", "user-agent": MARK})
            assert reply.status_code == status, reply.text
        assert client.post(CHAT, content=f'{{"model": "{MARK}', headers={"content-type": "application/json"}).is_error
        long = {"model": "chat", "messages": MESSAGES, "max_tokens": 400, "stream": True, "ignore_eos": True}
        with client.stream("POST", CHAT, json=long) as reply:
            lines = reply.iter_lines()
            next(lines)
            shown = local.get("/control/snapshot")
            pid = next(model["pid"] for model in shown.json()["models"] if model["name"] == "chat")
            assert len(shown.json()["prompts"]) == 1
            os.kill(pid, signal.SIGSEGV)  # the worker's handler writes where it stood
            assert list(lines)[-2] == "data: [DONE]"
        seen = {
            path: source.get(path).content
            for source, path in (
                (client, "/metrics"),
                (client, "/v1/models"),
                (client, "/readyz"),
                (local, "/control/snapshot"),
                (local, "/control/logs?lines=10000"),
                *((local, f"/control/logs?lines=10000&model={name}") for name in ("chat", "paint")),
            )
        }
        seen["mid-prompt snapshot"] = shown.content
        served.process.terminate()
        with local.stream("GET", "/control/events") as events:
            seen["events"] = b"".join(events.iter_raw())
    served.process.wait(timeout=20)
    assert served.process.stderr is not None
    seen["standard error"] = served.process.stderr.read().encode()
    seen |= kept(folder)
    assert b"prompt.failed" in seen["events"]
    assert b"Segmentation fault" in seen["state/logs/model-chat.log"]
    for word in (MARK, KEY):
        assert [place for place, content in seen.items() if word.encode() in content] == []


def test_prompts_are_logged_for_whoever_asks(tmp_path: Path) -> None:
    models = {"chat": {"kind": "toy", "toy": {"load_s": 0}}}
    with served_daemon(tmp_path, models, log_prompts=True) as daemon:
        url = f"http://127.0.0.1:{daemon.info.port}"
        wait_until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200)
        body = {"model": "chat", "messages": MESSAGES, "max_tokens": 2}
        httpx.post(f"{url}{CHAT}", json=body, headers={"authorization": f"Bearer {KEY}"}, trust_env=False)
        log = Path(daemon.info.log).read_text()
    assert MARK in log
    assert "default asks: " in log
    assert KEY not in log

"""How prompts stand, as clients, commands and snapshots see it: a toy model that serves one prompt at a time."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from api_server import serving
from aquahost.api.app import build_app
from aquahost.daemon.daemon import Daemon
from aquahost.messages.prompts import PromptState
from cli_process import PATIENCE_S, CliProcess, cli_process
from daemon_fixtures import running_daemon, toy, until

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi there"}]
ENDLESS = 100_000
IN_ROWS = "scheduler: {max_batch: 1, policy: fcfs}\n"


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    models = {"toy": toy(step_s=0.02, max_queue=3), "narrow": toy(max_context=32)}
    async with running_daemon(models, scheduler={"max_batch": 1, "policy": "fcfs"}) as running:
        yield running


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(build_app(daemon)) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as made,
    ):
        yield made


async def test_headers_by_openai_s_client(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    raw = client.chat.completions.with_raw_response
    whole = await raw.create(model="toy", messages=MESSAGES, max_tokens=2)
    assert whole.parse().choices
    assert whole.headers["x-aquahost-queue-length"] == "1"
    streamed = await raw.create(model="toy", messages=MESSAGES, max_tokens=ENDLESS, stream=True)
    (live,) = daemon.snapshot().prompts
    assert streamed.headers["x-aquahost-prompt-id"] == live.id
    second = await raw.create(model="toy", messages=MESSAGES, max_tokens=ENDLESS, stream=True, n=2)
    assert second.headers["x-aquahost-queue-length"] == "3"
    assert second.headers["x-aquahost-prompt-id"].split(", ") == [view.id for view in daemon.snapshot().prompts[1:]]
    with pytest.raises(openai.RateLimitError) as full:
        await client.chat.completions.create(model="toy", messages=MESSAGES)
    assert full.value.response.headers["x-aquahost-queue-length"] == "3"
    for response in (streamed, second):
        await response.http_response.aclose()
    await until(lambda: not daemon.snapshot().prompts)


async def test_priority_is_taken_within_bounds(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(model="toy", prompt="Hi", max_tokens=1, extra_body={"priority": 2_000_000})
    assert refused.value.param == "priority"
    done = await client.completions.create(model="toy", prompt="Hi", max_tokens=1, extra_body={"priority": 5})
    assert done.choices


async def test_a_prompt_that_its_engine_refuses_has_an_id_too(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(model="narrow", prompt="too many words for it " * 10)
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.response.headers["x-aquahost-prompt-id"]
    assert refused.value.response.headers["x-aquahost-queue-length"] == "1"


async def test_comments_tell_of_the_line_and_the_snapshot_agrees(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    first = await client.completions.create(model="toy", prompt="Hi", max_tokens=100, stream=True)
    body = {"model": "toy", "prompt": "hi", "max_tokens": 3, "stream": True}
    lines: list[str] = []
    async with (
        httpx.AsyncClient(base_url=str(client.base_url), timeout=PATIENCE_S) as http,
        http.stream("POST", "completions", json=body, headers={"X-Aquahost-Comments": "queue"}) as reply,
    ):
        assert reply.headers["x-aquahost-queue-length"] == "2"
        waits = next(view for view in daemon.snapshot().prompts if view.id == reply.headers["x-aquahost-prompt-id"])
        assert waits.state is PromptState.WAITING
        begun_s = time.monotonic()
        async for line in reply.aiter_lines():
            if line.startswith(": waiting, next in line") and not lines:
                waits = next(view for view in daemon.snapshot().prompts if view.id == waits.id)
                assert waits.position == 1
                assert waits.next_slice_s is not None
                assert 0 < waits.next_slice_s < 2.0
            if line.startswith(":"):
                lines.append(line)
        took_s = time.monotonic() - begun_s
    await first.close()
    assert len(lines) >= 2
    assert all(line.startswith(": waiting, next in line") for line in lines[:-1])
    assert lines[-1] == ": running"
    assert len(lines) <= 4 * (took_s + 1)


async def test_openai_s_client_skips_the_comments(client: openai.AsyncOpenAI) -> None:
    wish = {"X-Aquahost-Comments": "queue"}
    first = await client.completions.create(model="toy", prompt="Hi", max_tokens=30, stream=True)
    whole = await client.completions.create(model="toy", prompt="hi", max_tokens=5, extra_headers=wish)
    stream = await client.completions.create(
        model="toy", prompt="hi", max_tokens=5, n=2, stream=True, extra_headers=wish
    )
    texts = ["", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [whole.choices[0].text] * 2
    await first.close()
    with pytest.raises(openai.BadRequestError, match="allowed is 'queue'"):
        await client.completions.create(model="toy", prompt="hi", extra_headers={"X-Aquahost-Comments": "everything"})


async def test_service_grows_with_the_tokens(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    stream = await client.completions.create(model="toy", prompt="Hi", max_tokens=ENDLESS, stream=True)
    await until(lambda: daemon.snapshot().prompts[0].service_s > 0.2)
    (view,) = daemon.snapshot().prompts
    assert (view.state, view.position, view.next_slice_s, view.place) == (PromptState.RUNNING, 0, 0.0, "")
    assert view.service_s <= view.output_tokens * 0.02 + 1e-6
    await stream.close()


@pytest.fixture(scope="module")
def cli() -> Iterator[CliProcess]:
    with cli_process() as cli:
        path = cli.models("  toy: {kind: toy, toy: {load_s: 0, step_s: 20ms}}\n")
        with open(path, "a") as file:
            file.write(IN_ROWS)
        up = cli.run("up", "-d", "--wait", "--models", path)
        assert up.returncode == 0, up.stderr
        yield cli


def test_queue_shows_who_runs_and_who_waits(cli: CliProcess) -> None:
    asking = [cli.begin("run", "toy", "Hello", "--max-tokens", str(ENDLESS)) for _ in range(3)]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while [view["position"] for view in queue(cli)] != [0, 1, 2]:
            assert time.monotonic() < deadline, queue(cli)
        title, *rows = cli.run("queue").stdout.splitlines()
        assert title.split() == ["ID", "MODEL", "TENANT", "STATE", "AGE", "DONE", "SERVICE", "LINE", "NEXT"]
        runs, *waits = [row.split() for row in rows]
        assert (runs[3], runs[-2:]) == ("running", ["-", "now"])
        assert [row[3] for row in waits] == ["waiting", "waiting"]
        assert all(len(row) <= 80 for row in rows)
        runs, *_ = queue(cli)
        assert runs["service_s"] > 0
        assert runs["max_tokens"] == ENDLESS
        assert {"place", "position", "next_slice_s", "state", "output_tokens"} <= set(runs)
    finally:
        for process in asking:
            process.kill()
            process.communicate()


def queue(cli: CliProcess) -> list[dict[str, object]]:
    views: list[dict[str, object]] = json.loads(cli.run("queue", "-o", "json").stdout)
    return views

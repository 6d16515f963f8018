"""OpenAI's client, the API, the daemon and a worker of its own for each toy model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from api_server import serving
from aquahost.api.app import build_app
from aquahost.daemon.daemon import Daemon
from aquahost.messages.snapshot import ModelState
from daemon_fixtures import running_daemon, toy, until, view, worker_pid

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi there"}]
MODELS = {
    "fast": toy(max_context=64),
    "slow": toy(step_s=0.02, max_queue=2),
    "lazy": toy(autoload=False),
    "broken": toy(fail="it was never going to work"),
}


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    async with running_daemon(MODELS, ready=False) as running:
        await until(lambda: all(view(running, name).state is ModelState.READY for name in ("fast", "slow")))
        await until(lambda: view(running, "broken").state is ModelState.FAILED)
        yield running


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(build_app(daemon)) as url,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as made,
    ):
        yield made


async def test_streamed_and_not(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="fast", messages=MESSAGES, max_tokens=8, n=2)
    stream = await client.chat.completions.create(
        model="fast", messages=MESSAGES, max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert len(text.split()) == 8
    assert [choice.message.content for choice in whole.choices] == [text, text]
    assert [choice.finish_reason for choice in whole.choices] == ["length", "length"]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 16
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


async def test_completions(client: openai.AsyncOpenAI) -> None:
    reply = await client.completions.create(model="fast", prompt=["a", "b"], max_tokens=3, logprobs=1, echo=True)
    assert [choice.text[0] for choice in reply.choices] == ["a", "b"]
    assert reply.choices[0].logprobs is not None
    assert reply.choices[0].logprobs.tokens is not None
    assert len(reply.choices[0].logprobs.tokens) == 3


async def test_figures_of_a_living_daemon(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    await client.chat.completions.create(model="fast", messages=MESSAGES, max_tokens=8)
    await until(lambda: (stats := view(daemon, "fast").stats) is not None and stats.output_tokens >= 8)
    async with httpx.AsyncClient() as plain:
        text = (await plain.get(str(client.base_url.copy_with(path="/metrics")))).text
    for line in (
        'aquahost_model_ready{model="fast"} 1.0',
        'aquahost_model_ready{model="broken"} 0.0',
        'aquahost_output_tokens_total{model="fast"} 8.0',
        "aquahost_recall_seconds_count 0.0",
    ):
        assert line in text.splitlines()


async def test_leaving_frees_the_worker(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    stream = await client.chat.completions.create(model="slow", messages=MESSAGES, max_tokens=100_000, stream=True)
    await anext(aiter(stream))
    waiting = asyncio.create_task(
        client.chat.completions.create(model="slow", messages=MESSAGES, max_tokens=100_000, n=1)
    )
    await until(lambda: len(daemon.snapshot().prompts) == 2)
    with pytest.raises(openai.RateLimitError) as failure:
        await client.chat.completions.create(model="slow", messages=MESSAGES)
    assert int(failure.value.response.headers["retry-after"]) >= 1
    await stream.close()
    waiting.cancel()
    await until(lambda: not daemon.snapshot().prompts)
    reply = await client.chat.completions.create(model="slow", messages=MESSAGES, max_tokens=1)
    assert reply.usage is not None


async def test_refusals(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    with pytest.raises(openai.BadRequestError) as too_long:
        await client.completions.create(model="fast", prompt=[1] * 65)
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="fats", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as wrong_kind:
        await client.images.generate(model="fast", prompt="a boat")
    assert wrong_kind.value.param == "model"
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="broken", messages=MESSAGES)
    assert failed.value.status_code == 503
    assert "never going to work" in failed.value.message
    with pytest.raises(openai.InternalServerError) as unloaded:
        await client.chat.completions.create(model="lazy", messages=MESSAGES)
    assert unloaded.value.status_code == 503
    assert "retry-after" in unloaded.value.response.headers
    await until(lambda: view(daemon, "lazy").state is ModelState.READY)
    assert (await client.chat.completions.create(model="lazy", messages=MESSAGES)).choices


async def test_a_worker_killed_under_a_stream(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    whole = await client.chat.completions.create(model="slow", messages=MESSAGES, max_tokens=60)
    stream = await client.chat.completions.create(model="slow", messages=MESSAGES, max_tokens=60, stream=True)
    text = ""
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        if len(text) > 20 and not view(daemon, "slow").restarts and view(daemon, "slow").state is ModelState.READY:
            os.kill(worker_pid(daemon, "slow"), signal.SIGKILL)
            await until(lambda: view(daemon, "slow").state is ModelState.LOADING)
    assert text == whole.choices[0].message.content
    assert view(daemon, "slow").restarts == 1
    assert not daemon.snapshot().prompts


async def test_a_stream_says_in_a_comment_that_its_worker_died(client: openai.AsyncOpenAI, daemon: Daemon) -> None:
    body = {"model": "slow", "prompt": "hi", "max_tokens": 60, "stream": True}
    lines = []
    async with (
        httpx.AsyncClient(base_url=str(client.base_url)) as http,
        http.stream("POST", "completions", json=body) as reply,
    ):
        async for line in reply.aiter_lines():
            lines.append(line)
            if len(lines) == 20:
                os.kill(worker_pid(daemon, "slow"), signal.SIGKILL)
    comments = [line for line in lines if line.startswith(":")]
    assert comments == [": the worker of slow died; this reply goes on soon"]
    assert lines[-2:] == ["data: [DONE]", ""]


async def test_models_and_health(client: openai.AsyncOpenAI) -> None:
    states = {model.id: (model.model_extra or {})["state"] for model in (await client.models.list()).data}
    assert states == {"fast": "ready", "slow": "ready", "lazy": "unloaded", "broken": "failed"}
    async with httpx.AsyncClient(base_url=str(client.base_url).removesuffix("/v1/")) as http:
        assert (await http.get("/healthz")).status_code in (200, 503)
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert "broken" in ready.text

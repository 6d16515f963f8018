"""OpenAI's own client at a real server: chat."""

from __future__ import annotations

import openai

from api_server import ApiServer
from aquahost.messages.prompts import (
    TextRequest,
)
from fake_daemon import INPUT_TOKENS, WORDS, FakeDaemon

REPLY = "".join(WORDS)
MESSAGES = [{"role": "user", "content": "Hi"}]


def test_chat(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    reply = client.chat.completions.create(model="chat", messages=MESSAGES)
    assert reply.object == "chat.completion"
    assert reply.id == f"chatcmpl-{daemon.streams[0].prompt_id}"
    assert reply.model == "chat"
    choice = reply.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", REPLY, "stop")
    assert choice.logprobs is None
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == INPUT_TOKENS
    assert reply.usage.completion_tokens == len(WORDS)
    assert reply.usage.total_tokens == INPUT_TOKENS + len(WORDS)


def test_chat_fields_reach_the_engine(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    client.chat.completions.create(
        model="org/chat",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "three"},
            {"role": "user", "content": ""},
        ],
        max_tokens=9,
        max_completion_tokens=5,
        temperature=0,
        top_p=0.5,
        stop=["END", "\n"],
        presence_penalty=1,
        frequency_penalty=-2,
        logit_bias={"50256": -100},
        seed=3,
        user="me",
        store=False,
        metadata={"a": "b"},
        parallel_tool_calls=False,
        tools=[],
        response_format={"type": "text"},
        extra_body={"top_k": 4, "repetition_penalty": 1.1, "ignore_eos": True},
    )
    stream = daemon.streams[0]
    assert (stream.model, stream.tenant) == ("org/chat", "default")
    request = stream.request
    assert isinstance(request, TextRequest)
    assert request.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": ""},
    ]
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (5, 0.0, 0.5, 4)
    assert (sampling.stop, sampling.seed, sampling.ignore_eos) == (("END", "\n"), 3, True)
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty) == (1.0, -2.0, 1.1)
    assert sampling.logit_bias == {50256: -100.0}
    assert sampling.logprobs is None


def test_chat_n_draws_different_seeds_and_counts_the_prompt_once(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    reply = client.chat.completions.create(model="chat", messages=MESSAGES, n=3, seed=10, stop="x")
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert {choice.message.content for choice in reply.choices} == {REPLY}
    requests = [stream.request for stream in daemon.streams]
    assert [r.sampling.seed for r in requests if isinstance(r, TextRequest)] == [10, 11, 12]
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (INPUT_TOKENS, 3 * len(WORDS))


def test_chat_length(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="chat", messages=MESSAGES, max_tokens=2)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (REPLY[:7], "length")


def test_chat_logprobs(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="chat", messages=MESSAGES, logprobs=True, top_logprobs=2)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.token for token in logprobs.content] == list(WORDS)
    third = logprobs.content[2]
    assert third.logprob == -0.5
    assert third.bytes == list("wörld".encode())
    assert [(top.token, top.logprob) for top in third.top_logprobs] == [("wörld", -0.5), ("other", -9999.0)]


def test_chat_logprobs_without_top(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="chat", messages=MESSAGES, logprobs=True)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.top_logprobs for token in logprobs.content] == [[]] * len(WORDS)


def test_chat_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="chat", messages=MESSAGES, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == REPLY
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(WORDS) + 1) + ["stop"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all("usage" not in chunk.model_fields_set for chunk in chunks)


def test_chat_stream_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="chat", messages=MESSAGES, n=2, stream=True, stream_options={"include_usage": True}
        )
    )
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert all("usage" in chunk.model_fields_set for chunk in chunks)
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (INPUT_TOKENS, 2 * len(WORDS))


def test_chat_stream_n_and_logprobs(client: openai.OpenAI) -> None:
    texts, tokens = ["", ""], [0, 0]
    for chunk in client.chat.completions.create(
        model="chat", messages=MESSAGES, n=2, stream=True, logprobs=True, top_logprobs=1
    ):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        if choice.logprobs is not None:
            tokens[choice.index] += len(choice.logprobs.content or [])
    assert texts == [REPLY, REPLY]
    assert tokens == [len(WORDS), len(WORDS)]


async def test_async_chat_stream(server: ApiServer) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == REPLY

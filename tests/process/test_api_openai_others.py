"""OpenAI's own client at a real server: completions, models, images, speech."""

from __future__ import annotations

import base64

import httpx
import openai
import pytest

from api_server import ApiServer
from aquahost.messages.prompts import (
    AudioRequest,
    ImageRequest,
    TextRequest,
)
from fake_daemon import INPUT_TOKENS, PNG, WAV, WORDS, FakeDaemon

REPLY = "".join(WORDS)
MESSAGES = [{"role": "user", "content": "Hi"}]


def test_completion(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    reply = client.completions.create(model="chat", prompt="Once", echo=True)
    assert reply.object == "text_completion"
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == (REPLY, "stop")
    request = daemon.streams[0].request
    assert isinstance(request, TextRequest)
    assert (request.text, request.token_ids, request.echo) == ("Once", None, True)
    assert request.sampling.max_tokens == 16


@pytest.mark.parametrize(
    ("prompt", "texts", "token_ids"),
    [
        (["a", "b"], ["a", "a", "b", "b"], [None] * 4),
        ([1, 2], [None] * 2, [[1, 2]] * 2),
        ([[1], [2, 3]], [None] * 4, [[1], [1], [2, 3], [2, 3]]),
    ],
)
def test_completion_of_several_prompts(
    client: openai.OpenAI, daemon: FakeDaemon, prompt: list[str], texts: list[object], token_ids: list[object]
) -> None:
    reply = client.completions.create(model="chat", prompt=prompt, n=2)
    assert [choice.index for choice in reply.choices] == list(range(len(texts)))
    requests = [stream.request for stream in daemon.streams]
    assert [r.text for r in requests if isinstance(r, TextRequest)] == texts
    assert [r.token_ids for r in requests if isinstance(r, TextRequest)] == token_ids
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == INPUT_TOKENS * len(texts) // 2
    assert reply.usage.completion_tokens == len(WORDS) * len(texts)


def test_completion_logprobs(client: openai.OpenAI) -> None:
    logprobs = client.completions.create(model="chat", prompt="x", logprobs=2).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == list(WORDS)
    assert logprobs.text_offset == [0, 5, 7, 12]
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[0] == {"Hello": -0.5, "other": -9999.0}


def test_completion_stream(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="chat", prompt="x", logprobs=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == REPLY
    offsets = [chunk.choices[0].logprobs.text_offset for chunk in chunks[: len(WORDS)] if chunk.choices[0].logprobs]
    assert offsets == [[0], [5], [7], [12]]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


def test_models(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    daemon.reason = "KeyError: 'what another tenant has written'"
    assert [model.id for model in client.models.list()] == ["chat", "paint", "sing", "org/chat"]
    model = client.models.retrieve("org/chat")
    assert (model.id, model.object, model.owned_by) == ("org/chat", "model", "aquahost")
    assert model.model_extra == {"kind": "llm", "state": "ready", "max_context": None}
    with pytest.raises(openai.NotFoundError) as failure:
        client.models.retrieve("none")
    assert failure.value.code == "model_not_found"


def test_images(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    reply = client.images.generate(
        model="paint",
        prompt="a boat",
        n=2,
        size="64x32",
        output_format="webp",
        quality="low",
        extra_body={"steps": 4, "guidance": 2.5, "negative_prompt": "rain", "seed": 1},
    )
    assert [base64.b64decode(image.b64_json or "") for image in reply.data or []] == [PNG, PNG]
    request = daemon.streams[1].request
    assert request == ImageRequest(
        text="a boat",
        negative_text="rain",
        width_px=64,
        height_px=32,
        steps=4,
        guidance=2.5,
        seed=2,
        format="webp",
    )


def test_image_defaults_are_the_models(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    client.images.generate(model="paint", prompt="a boat", size="auto")
    assert daemon.streams[0].request == ImageRequest(text="a boat")


def test_image_url(client: openai.OpenAI) -> None:
    reply = client.images.generate(model="paint", prompt="a boat", response_format="url")
    assert reply.data is not None
    url = reply.data[0].url
    assert url is not None
    assert reply.data[0].b64_json is None
    got = httpx.get(url)
    assert (got.status_code, got.headers["content-type"], got.content) == (200, "image/png", PNG)
    assert httpx.get(url.replace("/images/", "/images/x")).status_code == 404


def test_image_stream(client: openai.OpenAI) -> None:
    events = list(client.images.generate(model="paint", prompt="a boat", stream=True))
    assert [event.type for event in events] == ["image_generation.progress"] * 2 + ["image_generation.completed"]
    assert (events[0].step, events[0].steps) == (1, 2)  # type: ignore[union-attr]
    assert base64.b64decode(events[-1].b64_json) == PNG


def test_speech(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    reply = client.audio.speech.create(
        model="sing",
        input="a song",
        voice="alloy",
        speed=1.0,
        response_format="flac",
        extra_body={"duration": 2.5, "steps": 3, "guidance": 1, "seed": 0, "negative_prompt": "noise"},
    )
    assert reply.read() == WAV
    assert reply.response.headers["content-type"] == "audio/flac"
    assert daemon.streams[0].request == AudioRequest(
        text="a song", negative_text="noise", duration_s=2.5, steps=3, guidance=1.0, seed=0, format="flac"
    )


def test_speech_events(server: ApiServer) -> None:
    body = {"model": "sing", "input": "a song", "stream_format": "sse"}
    text = httpx.post(f"{server.url}/v1/audio/speech", json=body).text
    assert text.count('data: {"type":"speech.audio.progress"') == 2
    assert f'data: {{"type":"speech.audio.delta","audio":"{base64.b64encode(WAV).decode()}"}}\n\n' in text
    assert text.endswith('event: speech.audio.done\ndata: {"type":"speech.audio.done"}\n\n')

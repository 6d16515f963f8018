"""The daemon's main job, end to end: real models of three kinds, and models that can't be served, on one host."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from aquahost.client import Client
from aquahost.demo.make import demo_model_path
from aquahost.messages.snapshot import ModelState, ModelView
from daemon_fixtures import ServedDaemon, served_daemon

PATIENCE_S = 90
CHAT = [{"role": "user", "content": "Tell me a story about a fox."}]


def corrupt(folder: Path) -> Path:
    """A language model whose weights end too early."""
    shutil.copytree(demo_model_path("chat"), folder)
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    return folder


def huge(folder: Path) -> Path:
    """A language model of 4 GiB; the file is sparse."""
    shutil.copytree(demo_model_path("chat"), folder)
    size = 4 << 30
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedDaemon]:
    folder = tmp_path_factory.mktemp("h")
    (folder / "empty").mkdir()
    models: dict[str, dict[str, Any]] = {
        "chat": {"kind": "llm", "source": "demo:chat", "kv_bytes": "16MiB", "max_context": 1024},
        "paint": {"kind": "image", "source": "demo:paint", "steps": 4},
        "sing": {"kind": "audio", "source": "demo:sing"},
        "empty": {"kind": "llm", "source": str(folder / "empty")},
        "corrupt": {"kind": "llm", "source": str(corrupt(folder / "corrupt"))},
        "huge": {"kind": "llm", "source": str(huge(folder / "huge"))},
    }
    with served_daemon(folder, models, emulated={"gpus": 8, "gpu_bytes": "512MiB"}) as served:
        wait_for(served, lambda models: all(model.state is not ModelState.LOADING for model in models.values()))
        yield served


@pytest.fixture
def client(host: ServedDaemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{host.info.port}/v1", api_key="any", max_retries=0) as client:
        yield client


def wait_for(host: ServedDaemon, condition: Callable[[dict[str, ModelView]], bool]) -> dict[str, ModelView]:
    """Wait until the condition holds of the models by name."""
    deadline_s = time.monotonic() + PATIENCE_S
    with Client(Path(host.info.socket)) as control:
        while not condition(models := {model.name: model for model in control.snapshot().models}):
            assert time.monotonic() < deadline_s, f"what was waited for did not come: {models}"
            time.sleep(0.05)
    return models


def test_a_chat_streams_and_equals_its_reply_in_one_piece(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "chat", "messages": CHAT, "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert text
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    assert 0 < whole.usage.completion_tokens <= 24


def test_a_prompt_longer_than_the_context_is_refused_streamed_or_not(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "fox " * 2000}], stream=stream
            )
        assert refused.value.code == "context_length_exceeded"


def test_a_client_that_leaves_frees_its_blocks(host: ServedDaemon, client: openai.OpenAI) -> None:
    def blocks_free(models: dict[str, ModelView]) -> bool:
        stats = models["chat"].stats
        return stats is not None and stats.kv_blocks_free == stats.kv_blocks > 0

    wait_for(host, lambda models: models["chat"].state is ModelState.READY)
    asked: dict[str, Any] = {"model": "chat", "messages": CHAT, "max_tokens": 900, "extra_body": {"ignore_eos": True}}
    streams = [client.chat.completions.create(**asked, stream=True) for _ in range(3)]
    for stream in streams:
        next(iter(stream))
    wait_for(host, lambda models: models["chat"].queue == 3 and not blocks_free(models))
    for stream in streams:
        stream.close()
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**asked, timeout=0.3)
    wait_for(host, lambda models: models["chat"].queue == 0 and blocks_free(models))


def test_an_image_is_painted_alike_for_the_same_seed(client: openai.OpenAI) -> None:
    replies = [
        client.images.generate(model="paint", prompt="a red circle", size="64x64", extra_body={"seed": 7})
        for _ in range(2)
    ]
    first, second = (base64.b64decode(reply.data[0].b64_json or "") for reply in replies if reply.data)
    assert first == second
    assert Image.open(io.BytesIO(first)).size == (64, 64)


def test_a_sound_has_the_asked_length(client: openai.OpenAI) -> None:
    reply = client.audio.speech.create(model="sing", voice="alloy", input="a tone", extra_body={"duration": 1})
    with wave.open(io.BytesIO(reply.content)) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(1, abs=0.1)


def test_what_cannot_be_served_says_why(host: ServedDaemon, client: openai.OpenAI) -> None:
    models = wait_for(host, lambda models: True)
    reasons = {name: models[name].reason or "" for name in ("empty", "corrupt", "huge")}
    assert [models[name].state for name in reasons] == [ModelState.FAILED] * 3
    assert "empty" in reasons["empty"]
    assert "model.safetensors" in reasons["corrupt"]
    assert "4.0 GiB" in reasons["huge"]
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(model="huge", messages=CHAT)
    assert failed.value.status_code == 503
    assert reasons["huge"] in failed.value.message


def test_a_killed_worker_comes_back_and_the_others_never_notice(host: ServedDaemon, client: openai.OpenAI) -> None:
    before = wait_for(host, lambda models: models["chat"].state is ModelState.READY)
    assert before["chat"].pid is not None
    os.kill(before["chat"].pid, signal.SIGKILL)
    for _ in range(3):
        client.images.generate(model="paint", prompt="meanwhile", size="64x64")
    after = wait_for(
        host, lambda models: models["chat"].restarts > before["chat"].restarts and models["chat"].state == "ready"
    )
    assert after["paint"].pid == before["paint"].pid
    assert after["sing"].pid == before["sing"].pid
    assert client.chat.completions.create(model="chat", messages=CHAT, max_tokens=4).choices[0].message.content


def test_run_streams_text_and_saves_files(host: ServedDaemon, tmp_path: Path) -> None:
    aquahost = [sys.executable, "-m", "aquahost"]
    env = {**os.environ, "AQUAHOST_SOCKET": host.info.socket}
    wait_for(host, lambda models: models["chat"].state is ModelState.READY)
    words = [*aquahost, "run", "chat", "Hello", "--max-tokens", "8"]
    assert subprocess.run(words, env=env, capture_output=True, check=True).stdout.strip()
    subprocess.run([*aquahost, "run", "paint", "x", "-o", str(tmp_path / "x.png")], env=env, check=True)
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
    subprocess.run([*aquahost, "run", "sing", "x", "-o", str(tmp_path / "x.wav")], env=env, check=True)
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RIFF"

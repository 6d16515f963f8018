"""The client against the real API over a Unix socket, with scripted prompts behind it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from api_server import ApiServer, wait_until
from aquahost.client import Client, Media, StepDone, TextEnd, TextPiece
from aquahost.errors import (
    InvalidRequestError,
    ModelStateError,
    ModelUnavailableError,
    QueueFullError,
    RequestError,
    UnknownModelError,
    UnknownPromptError,
    UnreachableError,
)
from aquahost.events import Event
from aquahost.messages.prompts import AudioRequest, ImageRequest, TextRequest
from fake_daemon import PNG, WAV, WORDS, FakeDaemon, FakeStream, hang


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    made = FakeDaemon()
    made.logs = tmp_path
    return made


@pytest.fixture
def client(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Client]:
    with ApiServer(daemon, tmp_path / "s"), Client(tmp_path / "s") as made:
        yield made


def text_of(parts: list[TextPiece | TextEnd]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPiece))


def test_snapshot_and_events(client: Client, daemon: FakeDaemon) -> None:
    assert client.snapshot() == daemon.snapshot()
    events = client.events()
    assert [next(events).seq, next(events).seq] == [1, 2]
    events.close()  # type: ignore[attr-defined]
    wait_until(lambda: ("events closed",) in daemon.calls)


def test_watch(client: Client, daemon: FakeDaemon) -> None:
    watching = client.watch(per_s=30, after_seq=1)
    seen = [next(watching) for _ in range(4)]
    assert seen[0] == daemon.snapshot()
    assert [event.seq for event in seen if isinstance(event, Event)] == [2]
    watching.close()  # type: ignore[attr-defined]
    wait_until(lambda: ("events closed",) in daemon.calls)
    with pytest.raises(InvalidRequestError, match="per_s"):
        next(client.watch(per_s=1000))


def test_a_watcher_that_stops_reading_finds_no_backlog(client: Client, daemon: FakeDaemon) -> None:
    made = itertools.count()
    snapshot = daemon.snapshot
    daemon.snapshot = lambda: msgspec.structs.replace(snapshot(), pid=next(made))  # type: ignore[method-assign]
    watching = client.watch(per_s=30, after_seq=2)
    for _ in range(3):
        next(watching)
    time.sleep(1.0)
    assert next(made) <= 6
    watching.close()  # type: ignore[attr-defined]


def test_prompt_output(client: Client, daemon: FakeDaemon) -> None:
    daemon.script = hang
    reply = client.chat("chat", [{"role": "user", "content": "Hi"}])
    assert next(reply) == TextPiece("Hm")
    prompt = daemon.streams[0]
    watching = client.prompt_output(prompt.prompt_id)
    assert next(watching) == TextPiece("Hm")
    reply.close()  # type: ignore[attr-defined]
    assert list(watching) == [TextEnd(finish_reason="cancelled", input_tokens=7, output_tokens=0)]
    with pytest.raises(UnknownPromptError):
        next(client.prompt_output(prompt.prompt_id))
    with pytest.raises(UnknownPromptError):
        next(client.prompt_output("../snapshot"))


def test_parking(client: Client, daemon: FakeDaemon) -> None:
    client.park("org/chat")
    client.wake("chat")
    client.pin("chat")
    client.unpin("chat")
    assert daemon.calls == [("park", "org/chat"), ("wake", "chat"), ("pin", "chat"), ("unpin", "chat")]
    with pytest.raises(UnknownModelError):
        client.pin("nothing")
    daemon.refuse = ModelStateError("it is pinned", code="pinned")
    with pytest.raises(ModelStateError, match="it is pinned") as caught:
        client.park("chat")
    assert (caught.value.status, caught.value.code) == (409, "pinned")


def test_chat(client: Client, daemon: FakeDaemon) -> None:
    messages = [{"role": "user", "content": "Hi ü"}]
    options = {"max_tokens": 9, "temperature": 0.0, "top_p": 0.5, "seed": 3, "stop": ["x"]}
    parts = list(client.chat("org/chat", messages, **options))
    assert text_of(parts) == "".join(WORDS)
    end = parts[-1]
    assert isinstance(end, TextEnd)
    assert end.finish_reason == "stop"
    assert end.input_tokens > 0
    request = daemon.streams[0].request
    assert isinstance(request, TextRequest)
    assert request.messages == messages
    assert (request.sampling.max_tokens, request.sampling.seed, request.sampling.stop) == (9, 3, ("x",))


def test_complete(client: Client, daemon: FakeDaemon) -> None:
    assert text_of(list(client.complete("chat", "Once"))) == "".join(WORDS)
    request = daemon.streams[0].request
    assert isinstance(request, TextRequest)
    assert request.text == "Once"


def test_images(client: Client, daemon: FakeDaemon) -> None:
    options = {"size": "64x32", "steps": 3, "guidance": 2.5, "negative_prompt": "fog", "seed": 1, "n": 2}
    parts = list(client.image("paint", "a house", output_format="jpeg", **options))
    assert [part.data for part in parts if isinstance(part, Media)] == [PNG, PNG]
    assert any(isinstance(part, StepDone) for part in parts)
    request = daemon.streams[0].request
    assert isinstance(request, ImageRequest)
    assert (request.width_px, request.height_px, request.steps) == (64, 32, 3)
    assert (request.guidance, request.negative_text, request.format) == (2.5, "fog", "jpeg")


def test_audio(client: Client, daemon: FakeDaemon) -> None:
    parts = list(client.audio("sing", "la la", response_format="wav", duration=2.5, steps=3, seed=1))
    assert [part.data for part in parts if isinstance(part, Media)] == [WAV]
    assert any(isinstance(part, StepDone) for part in parts)
    request = daemon.streams[0].request
    assert isinstance(request, AudioRequest)
    assert (request.duration_s, request.steps, request.seed) == (2.5, 3, 1)


def test_closing_a_reply_cancels_its_prompt(client: Client, daemon: FakeDaemon) -> None:
    def endless(stream: FakeStream, request: object) -> None:
        stream.accept()
        stream.say("a")

    daemon.script = endless
    reply = client.chat("chat", [{"role": "user", "content": "Hi"}])
    assert next(reply) == TextPiece("a")
    reply.close()  # type: ignore[attr-defined]
    wait_until(lambda: daemon.streams[0].cancelled)


def test_commands(client: Client, daemon: FakeDaemon) -> None:
    client.load("org/chat")
    client.unload("chat", 2.5)
    client.shutdown(0.0)
    assert daemon.calls == [("load", "org/chat"), ("unload", "chat", 2.5), ("shutdown", 0.0)]
    with pytest.raises(RequestError) as caught:
        client.cancel("nope")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "a/b", "a?b", "\udcff", "ü"])
def test_what_is_no_id_is_no_live_prompt(name: str, client: Client) -> None:
    with pytest.raises(UnknownPromptError, match="no live prompt"):
        client.cancel(name)


def test_a_name_that_is_no_text_is_an_unknown_model(client: Client) -> None:
    with pytest.raises(UnknownModelError):
        list(client.logs("\udcff", lines=1, follow=False))


def test_logs(client: Client, daemon: FakeDaemon) -> None:
    daemon.log_path("chat").write_text("1\n2\n3\n")
    assert "".join(client.logs("chat", lines=2, follow=False)) == "2\n3\n"


@pytest.mark.parametrize(
    "error",
    [
        QueueFullError("3 prompts wait", retry_after_s=7.0),
        ModelUnavailableError("loading", retry_after_s=2.0),
        InvalidRequestError("too long", param="messages", code="context_length_exceeded"),
        UnknownModelError("no such model"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_they_were_raised(error: RequestError, client: Client, daemon: FakeDaemon) -> None:
    daemon.refuse = error
    with pytest.raises(type(error)) as caught:
        list(client.chat("chat", [{"role": "user", "content": "Hi"}]))
    assert str(caught.value) == str(error)
    assert (caught.value.status, caught.value.type) == (error.status, error.type)
    assert caught.value.retry_after_s == error.retry_after_s
    assert error.param is None or caught.value.param == error.param
    assert error.code is None or caught.value.code == error.code


@pytest.mark.filterwarnings(
    "ignore:unclosed <socket"
)  # httpcore leaves a Unix socket that cannot connect to the collector
def test_nobody_at_the_socket(tmp_path: Path) -> None:
    with Client(tmp_path / "gone") as client, pytest.raises(UnreachableError, match="start one with: aquahost up -d"):
        client.snapshot()
    with pytest.raises(UnreachableError, match="too long"):
        Client(tmp_path / ("x" * 200))
    (tmp_path / "file").write_text("")
    with Client(tmp_path / "file") as client, pytest.raises(UnreachableError):
        client.snapshot()
    assert os.path.exists(tmp_path / "file")

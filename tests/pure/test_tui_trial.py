"""Prompts sent from the UI: what is asked, what is kept, and the thread that reads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest

from aquahost.client import Client, Media, StepDone, TextEnd, TextPiece
from aquahost.clock import VirtualClock
from aquahost.errors import ModelUnavailableError, RequestError, UnknownModelError
from aquahost.messages.snapshot import ModelState, Snapshot
from aquahost_tui.asking import ask
from aquahost_tui.stream import Stream
from aquahost_tui.trial import Conversation, Reply, Turn
from made_host import snapshot
from scripted_client import ScriptedClient

END = TextEnd(finish_reason="stop", input_tokens=7, output_tokens=11)


def taken(*items: tuple[float, Reply], ended_s: float, stopped: bool = False) -> Turn:
    turn = Turn("why", 10.0)
    for at_s, item in items:
        turn.take(item, at_s)
    turn.close(ended_s, stopped=stopped)
    return turn


def chat_as(state: ModelState, reason: str | None = None) -> Snapshot:
    host = snapshot(27)
    models = [msgspec.structs.replace(model, state=state, reason=reason) for model in host.models]
    return msgspec.structs.replace(host, models=models)


def asked(client: ScriptedClient, kind: str = "llm", model: str = "chat", *, stopped: bool = False) -> list[Reply]:
    messages = [{"role": "user", "content": "why"}]
    return list(ask(cast(Client, client), lambda _: stopped, model=model, kind=kind, messages=messages))


def test_the_figures_of_a_chat() -> None:
    turn = taken((10.5, TextPiece("Be")), (11.0, TextPiece("cause")), (12.5, END), ended_s=12.5)
    assert turn.text == "Because"
    assert turn.figures() == "11 tokens, 5.0 tokens/s, first after 500 ms, 7 tokens in, ended: stop"


def test_the_figures_of_one_token_have_no_rate() -> None:
    end = TextEnd(finish_reason="length", input_tokens=7, output_tokens=1)
    assert taken((10.5, TextPiece("B")), (10.5, end), ended_s=10.5).figures() == (
        "1 tokens, first after 500 ms, 7 tokens in, ended: length"
    )


def test_the_figures_of_an_image_and_of_what_was_stopped() -> None:
    turn = taken((10.5, StepDone(step=1, steps=2)), (12.0, Media(b"x")), ended_s=12.0)
    assert turn.figures() == "first after 500 ms, made in 2.0 s"
    assert taken((10.5, TextPiece("B")), ended_s=11.0, stopped=True).figures() == "stopped, first after 500 ms"
    assert Turn("why", 10.0).figures() == ""


def test_a_chat_remembers_what_was_answered() -> None:
    talk = Conversation("chat", "llm", [taken((11.0, TextPiece("Because")), ended_s=12.0), taken(ended_s=11.0)])
    assert [message["content"] for message in talk.messages("so")] == ["why", "Because", "so"]


@pytest.mark.parametrize("kind", ["llm", "toy", "image", "audio"])
def test_each_kind_is_asked_in_its_own_way(kind: str) -> None:
    client = ScriptedClient(END)
    assert asked(client, kind) == [END]
    assert client.asked[0][0] == {"llm": "chat", "toy": "chat"}.get(kind, kind)


def test_a_model_is_loaded_and_waited_for() -> None:
    client = ScriptedClient(END)
    unloaded, loading = chat_as(ModelState.UNLOADED), chat_as(ModelState.LOADING)
    client.snapshots = [unloaded, unloaded, loading, loading, snapshot(27)]
    assert asked(client) == [END]
    assert [deed[0] for deed in client.asked] == ["load", "chat"]


def test_waiting_can_be_given_up() -> None:
    client = ScriptedClient(END)
    client.snapshots = [chat_as(ModelState.LOADING)]
    assert asked(client, stopped=True) == []
    assert client.asked == []


@pytest.mark.parametrize(
    ("state", "words"),
    [(ModelState.FAILED, "chat failed: no such file"), (ModelState.DRAINING, "chat is draining: no such file")],
)
def test_a_model_that_does_not_come(state: ModelState, words: str) -> None:
    client = ScriptedClient(END)
    client.snapshots = [chat_as(state, "no such file")]
    with pytest.raises(ModelUnavailableError, match=words):
        asked(client)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UnknownModelError, match="no model is named 'nobody'"):
        asked(ScriptedClient(END), model="nobody")


def stream_of(client: ScriptedClient) -> Stream[Any]:
    @contextmanager
    def clients() -> Iterator[Client]:
        yield cast(Client, client)

    return Stream(clients, lambda opened, _: opened.prompt_output("p1"), VirtualClock(5.0))


def wait_for(stream: Stream[Any]) -> list[tuple[float, Any]]:
    news = []
    for _ in range(500):
        news += stream.take()
        if stream.is_over:
            return news
        threading.Event().wait(0.01)
    raise AssertionError("the stream does not end")


def test_a_stream_gives_everything_with_its_time() -> None:
    stream = stream_of(ScriptedClient("a", "b"))
    assert wait_for(stream) == [(5.0, "a"), (5.0, "b")]
    assert stream.trouble is None
    stream.stop()  # does nothing any more


def test_a_stream_tells_why_it_broke_off() -> None:
    stream = stream_of(ScriptedClient("a", RequestError("the worker died")))
    assert wait_for(stream) == [(5.0, "a")]
    assert stream.trouble == "the worker died"


def test_a_stream_tells_of_what_nobody_expected() -> None:
    stream = stream_of(ScriptedClient("a", ValueError("bad bytes")))
    assert wait_for(stream) == [(5.0, "a")]
    assert stream.trouble == "ValueError: bad bytes"


def test_a_stream_that_is_stopped_has_no_trouble() -> None:
    client = ScriptedClient(hangs=True)
    stream = stream_of(client)
    while not client.waiting:
        threading.Event().wait(0.01)
    stream.stop()
    assert wait_for(stream) == []
    assert stream.trouble is None


HANGS = """
import contextlib, threading
from aquahost.clock import SystemClock
from aquahost_tui.stream import Stream
waits = threading.Event()
def read(client, pause):
    waits.set()
    threading.Event().wait(60)
    yield 1
Stream(lambda: contextlib.nullcontext(object()), read, SystemClock())
waits.wait(10)
"""


def test_a_stream_that_waits_keeps_nobody_from_ending() -> None:
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=30, env={"PYTHONPATH": ":".join(sys.path)})


def test_the_ui_starts_without_what_only_models_and_pictures_need() -> None:
    heavy = {"torch", "numpy", "PIL", "transformers", "diffusers", "soundfile"}
    code = f"import sys, aquahost_tui.app; print(*sorted({heavy} & set(sys.modules)))"
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout.strip() == ""

"""OpenAI's own client at a real server: every refusal and failure as the exception its users know."""

from __future__ import annotations

import openai
import pytest

from api_server import ApiServer
from aquahost.errors import ModelUnavailableError, QueueFullError
from aquahost.messages.prompts import (
    ErrorDetail,
    Request,
)
from fake_daemon import WORDS, FakeDaemon, FakeStream

REPLY = "".join(WORDS)
MESSAGES = [{"role": "user", "content": "Hi"}]


def test_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as failure:
        client.chat.completions.create(model="none", messages=MESSAGES)
    assert (failure.value.code, failure.value.param) == ("model_not_found", "model")


def test_wrong_kind(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as failure:
        client.chat.completions.create(model="paint", messages=MESSAGES)
    assert failure.value.param == "model"


@pytest.mark.parametrize(
    ("refusal", "expected", "retry_after"),
    [
        (QueueFullError("the queue is full (8)", retry_after_s=1.2), openai.RateLimitError, "2"),
        (ModelUnavailableError("chat is loading", retry_after_s=0.1), openai.InternalServerError, "1"),
        (ModelUnavailableError("chat has failed: no such folder"), openai.InternalServerError, None),
    ],
)
def test_refusals(
    client: openai.OpenAI,
    daemon: FakeDaemon,
    refusal: Exception,
    expected: type[openai.APIStatusError],
    retry_after: str | None,
) -> None:
    daemon.refuse = refusal
    with pytest.raises(expected) as failure:
        client.chat.completions.create(model="chat", messages=MESSAGES)
    assert failure.value.status_code == getattr(refusal, "status")  # noqa: B009
    assert failure.value.response.headers.get("retry-after") == retry_after
    assert str(refusal) in failure.value.message


TOO_LONG = ErrorDetail(
    message="the prompt has 9 tokens, the model takes 8",
    status=400,
    type="invalid_request_error",
    param="messages",
    code="context_length_exceeded",
)


@pytest.mark.parametrize("streamed", [False, True])
def test_engine_refusal_keeps_its_status(client: openai.OpenAI, daemon: FakeDaemon, streamed: bool) -> None:
    daemon.script = lambda stream, _: stream.fail(TOO_LONG)
    with pytest.raises(openai.BadRequestError) as failure:
        client.chat.completions.create(model="chat", messages=MESSAGES, stream=streamed)
    assert (failure.value.code, failure.value.param) == ("context_length_exceeded", "messages")
    assert "9 tokens" in failure.value.message


def _die(stream: FakeStream, _: Request) -> None:
    stream.accept()
    stream.say("Hel")
    stream.fail(ErrorDetail(message="the worker died", status=503, type="service_unavailable_error", retry_after_s=3))


def test_late_failure_has_a_status_where_nothing_is_streamed(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    daemon.script = _die
    with pytest.raises(openai.InternalServerError, match="the worker died") as failure:
        client.chat.completions.create(model="chat", messages=MESSAGES)
    assert failure.value.status_code == 503
    assert failure.value.response.headers["retry-after"] == "3"


def test_late_failure_ends_a_stream_with_an_error_event(
    client: openai.OpenAI, daemon: FakeDaemon, server: ApiServer
) -> None:
    daemon.script = lambda stream, _: stream.accept()
    chunks = client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
    assert next(iter(chunks)).choices[0].delta.role == "assistant"
    server.call(lambda: _die(daemon.streams[0], daemon.streams[0].request))
    with pytest.raises(openai.APIError, match="the worker died") as failure:
        list(chunks)
    assert not isinstance(failure.value, openai.APIStatusError)


def test_a_prompt_cancelled_by_someone_else(client: openai.OpenAI, daemon: FakeDaemon, server: ApiServer) -> None:
    daemon.script = lambda stream, _: stream.accept()
    chunks = client.chat.completions.create(model="chat", messages=MESSAGES, stream=True)
    next(iter(chunks))
    server.call(lambda: daemon.cancel(daemon.streams[0].prompt_id))
    with pytest.raises(openai.APIError, match="cancelled") as failure:
        list(chunks)
    assert failure.value.code == "prompt_cancelled"


def test_one_failure_cancels_its_siblings(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    def script(stream: FakeStream, request: Request) -> None:
        if len(daemon.streams) == 3:
            _die(stream, request)
        else:
            stream.accept()

    daemon.script = script
    with pytest.raises(openai.InternalServerError, match="the worker died"):
        client.chat.completions.create(model="chat", messages=MESSAGES, n=3)
    assert [stream.cancelled for stream in daemon.streams] == [True, True, False]


def test_refusal_of_one_cancels_those_submitted(client: openai.OpenAI, daemon: FakeDaemon) -> None:
    def script(stream: FakeStream, _: Request) -> None:
        stream.accept()
        if len(daemon.streams) == 2:
            daemon.refuse = QueueFullError("full", retry_after_s=1)

    daemon.script = script
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="chat", messages=MESSAGES, n=3)
    assert [stream.cancelled for stream in daemon.streams] == [True, True]

"""Prompts to workers, outputs to streams; with a worker that only listens."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lifecycle import (
    LoadRefused,
    TimePassed,
    UnloadRequested,
    WorkerExited,
)
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.errors import (
    InvalidRequestError,
    ModelUnavailableError,
    QueueFullError,
    UnknownModelError,
    UnknownPromptError,
)
from aquahost.events import EventKind
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    ImageRequest,
    Output,
    Progress,
    PromptState,
    StateChanged,
    TextRequest,
    Tokens,
)
from aquahost.messages.snapshot import ModelState
from aquahost.messages.wire import Cancel, Submit
from router_desk import WORKER, Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


def tokens(stream: PromptStream, text: str = "a") -> Tokens:
    return Tokens(stream.prompt_id, text, [1])


async def test_a_prompt_goes_to_its_model_s_worker_and_its_outputs_come_back_in_order(desk: Desk) -> None:
    stream = desk.ask()
    (submit,) = desk.sent
    assert isinstance(submit, Submit)
    assert (submit.prompt.id, submit.prompt.model, submit.prompt.tenant) == (stream.prompt_id, "chat", "tester")
    outputs: list[Output] = [
        Accepted(stream.prompt_id, 1),
        tokens(stream),
        Finished(prompt_id=stream.prompt_id, reason=FinishReason.STOP),
    ]
    desk.router.on_outputs(WORKER, outputs[:2])
    assert await stream.take() == outputs[:2]
    desk.router.on_outputs(WORKER, outputs[2:])
    assert await stream.take() == outputs[2:]
    assert await stream.take() == []
    assert desk.router.live == 0
    assert desk.idle == ["chat"]


async def test_take_waits_for_the_next_output(desk: Desk) -> None:
    stream = desk.ask()
    waiting = asyncio.create_task(stream.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    desk.router.on_outputs(WORKER, [tokens(stream)])
    assert await waiting == [tokens(stream)]


async def test_a_reader_that_gave_up_waiting_misses_nothing(desk: Desk) -> None:
    stream = desk.ask()
    waiting = asyncio.create_task(stream.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    desk.router.on_outputs(WORKER, [tokens(stream)])
    assert await stream.take() == [tokens(stream)]


async def test_each_output_reaches_its_own_stream(desk: Desk) -> None:
    first, second = desk.ask(), desk.ask()
    desk.router.on_outputs(WORKER, [tokens(first, "1"), tokens(second, "2"), tokens(first, "3")])
    assert await first.take() == [tokens(first, "1"), tokens(first, "3")]
    assert await second.take() == [tokens(second, "2")]


async def test_cancelling_ends_the_stream_at_once_and_tells_the_worker(desk: Desk) -> None:
    stream = desk.ask()
    stream.cancel()
    stream.cancel()
    assert await stream.take() == [Finished(prompt_id=stream.prompt_id, reason=FinishReason.CANCELLED)]
    assert desk.sent[1:] == [Cancel(stream.prompt_id)]
    desk.router.on_outputs(WORKER, [tokens(stream)])  # was under way
    assert await stream.take() == []
    assert desk.events.since(0)[-1].kind is EventKind.PROMPT_CANCELLED


def test_cancelling_what_is_not_there_is_an_error(desk: Desk) -> None:
    with pytest.raises(UnknownPromptError, match="'nope'"):
        desk.router.cancel("nope")


def test_a_full_queue_refuses_and_says_when_to_come_back(desk: Desk) -> None:
    streams = [desk.ask(), desk.ask()]
    with pytest.raises(QueueFullError) as caught:
        desk.ask()
    assert caught.value.retry_after_s is not None
    assert len(desk.sent) == 2
    desk.finish(streams[0])
    desk.ask()


def test_the_wait_is_estimated_from_recent_completions(desk: Desk) -> None:
    for _ in range(10):
        stream = desk.ask()
        desk.clock.advance(4.0)
        desk.finish(stream)
    desk.ask(), desk.ask()
    with pytest.raises(QueueFullError) as caught:
        desk.ask()
    assert caught.value.retry_after_s == pytest.approx(4.0, abs=0.5)


def test_prompts_that_were_cancelled_or_failed_say_nothing_of_how_fast_others_end(desk: Desk) -> None:
    def wait_s() -> float:
        assert desk.router.submit("paint", ImageRequest(text="a fox"), "tester")
        return desk.models["paint"].completions.retry_after_s(desk.clock.now_s())

    unknown_s = wait_s()
    for _ in range(10):
        desk.router.cancel(desk.router.submit("paint", ImageRequest(text="a fox"), "tester").prompt_id)
        failed = desk.router.submit("paint", ImageRequest(text="a fox"), "tester")
        error = ErrorDetail(message="no")
        desk.router.on_outputs(WORKER, [Finished(prompt_id=failed.prompt_id, reason=FinishReason.ERROR, error=error)])
    desk.clock.advance(1.0)
    assert wait_s() == unknown_s


def test_a_prompt_that_cannot_be_sent_leaves_nothing_behind(desk: Desk) -> None:
    desk.broken = ValueError("lone surrogate")
    with pytest.raises(ValueError, match="surrogate"):
        desk.ask()
    assert desk.router.live == 0
    assert desk.models["chat"].prompts == {}
    assert desk.events.since(0) == []


def test_a_prompt_that_has_ended_leaves_nothing_behind(desk: Desk) -> None:
    class Watched(list[int]):
        """A list that a weak reference can watch."""

    tokens = Watched(range(1000))
    watch = weakref.ref(tokens)
    stream = desk.router.submit("chat", TextRequest(token_ids=tokens), "tester")
    del tokens
    desk.sent.clear()
    assert watch() is not None, "another worker may have to begin it again"
    desk.finish(stream)
    gc.collect()
    assert watch() is None


def test_an_unknown_model_is_refused_naming_the_nearest(desk: Desk) -> None:
    with pytest.raises(UnknownModelError, match=r"no model 'chatt'; did you mean 'chat'\?"):
        desk.ask("chatt")
    with pytest.raises(UnknownModelError, match="there are: chat, paint"):
        desk.ask("zzz")


def test_a_request_of_another_kind_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequestError, match="makes images"):
        desk.ask("paint")
    with pytest.raises(InvalidRequestError, match="makes text"):
        desk.router.submit("chat", ImageRequest(text="a fox"), "tester")


def _unloaded(model: HostedModel) -> None:
    model.supervision.handle(UnloadRequested(0.0, 0), 1.0)
    model.supervision.handle(WorkerExited("exited"), 1.0)


def _crashed(model: HostedModel) -> None:
    model.supervision.handle(WorkerExited("exited with status 1: KeyError: 'a secret'"), 1.0)


def _draining(model: HostedModel) -> None:
    model.supervision.handle(UnloadRequested(30.0, 1), 1.0)


def _crashed_for_good(model: HostedModel) -> None:
    for at_s in range(1, 10):
        _crashed(model)
        model.supervision.handle(TimePassed(), at_s * 1000.0)
    assert model.state is ModelState.FAILED


def _failed(model: HostedModel) -> None:
    _crashed(model)
    model.supervision.handle(LoadRefused("no such folder", worker_runs=False), 1.0)


@pytest.mark.parametrize(
    ("befall", "says", "again"),
    [
        (_unloaded, "is being loaded; try again", True),
        (_crashed, "is being loaded again, since its worker died", True),
        (_draining, "is being unloaded", True),
        (_failed, "failed: no such folder", False),
        (_crashed_for_good, "failed: its worker died; see `aquahost logs chat`", False),
    ],
)
def test_a_model_that_is_not_ready_refuses_and_says_why(
    desk: Desk, befall: Callable[[HostedModel], None], says: str, again: bool
) -> None:
    befall(desk.models["chat"])
    with pytest.raises(ModelUnavailableError, match=says) as caught:
        desk.ask()
    assert (caught.value.retry_after_s is not None) == again
    assert "secret" not in caught.value.message
    assert "secret" not in (desk.models["chat"].unready() or "")
    assert "secret" not in (desk.models["chat"].unhealthy(1.0) or "")
    assert desk.sent == []


def test_a_prompt_for_an_unloaded_model_has_it_loaded(desk: Desk) -> None:
    _unloaded(desk.models["chat"])
    with pytest.raises(ModelUnavailableError):
        desk.ask()
    assert desk.wanted == ["chat"]


async def test_closing_refuses_new_prompts_and_lets_live_ones_go_on(desk: Desk) -> None:
    stream = desk.ask()
    desk.router.close("closed for today", "closed")
    with pytest.raises(ModelUnavailableError, match="closed for today") as caught:
        desk.ask()
    assert caught.value.code == "closed"
    desk.finish(stream)
    assert len(await stream.take()) == 1


async def test_prompts_of_a_dead_worker_fail_and_those_of_others_do_not(desk: Desk) -> None:
    mine = desk.ask()
    other = desk.router.submit("paint", ImageRequest(text="a fox"), "tester")
    error = ErrorDetail(message="gone", status=503, code="worker_died")
    desk.router.end_prompts(desk.models["chat"], error)
    assert await mine.take() == [Finished(prompt_id=mine.prompt_id, reason=FinishReason.ERROR, error=error)]
    assert desk.router.live == 1
    assert [view.id for view in desk.router.views(0.0)] == [other.prompt_id]


def test_a_live_prompt_s_view_follows_its_outputs(desk: Desk) -> None:
    stream = desk.ask()
    desk.clock.advance(1.0)
    (view,) = desk.router.views(desk.clock.now_s())
    assert (view.state, view.first_token_s, view.age_s, view.kind) == (PromptState.WAITING, None, 1.0, "text")
    desk.router.on_outputs(
        WORKER, [Accepted(stream.prompt_id, 12), StateChanged(stream.prompt_id, PromptState.PREFILLING)]
    )
    (view,) = desk.router.views(desk.clock.now_s())
    assert (view.state, view.input_tokens, view.output_tokens) == (PromptState.PREFILLING, 12, 0)
    desk.clock.advance(0.5)
    desk.router.on_outputs(WORKER, [tokens(stream)])
    desk.clock.advance(0.5)
    desk.router.on_outputs(WORKER, [tokens(stream)])
    (view,) = desk.router.views(desk.clock.now_s())
    assert (view.state, view.output_tokens, view.first_token_s) == (PromptState.RUNNING, 2, 1.5)


def test_an_image_s_view_shows_its_steps(desk: Desk) -> None:
    stream = desk.router.submit("paint", ImageRequest(text="a fox"), "tester")
    desk.router.on_outputs(WORKER, [Accepted(stream.prompt_id, 0, 20), Progress(stream.prompt_id, 3, 20)])
    (view,) = desk.router.views(desk.clock.now_s())
    assert (view.kind, view.steps_done, view.steps) == ("image", 3, 20)

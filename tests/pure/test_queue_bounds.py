"""Queues of tenants, and prompts that take too long."""

from __future__ import annotations

import pytest

from aquahost.config.settings import Settings
from aquahost.daemon.jobs.accounts import account_of
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.daemon.prompt_time_limit import PromptTimeLimit
from aquahost.daemon.queue_bounds import QueueBounds, queue_bounds
from aquahost.errors import QueueFullError
from aquahost.events import EventKind
from aquahost.messages.prompts import Finished, FinishReason, ImageRequest, TextRequest
from aquahost.messages.wire import Cancel
from router_desk import Desk


def paint(desk: Desk, tenant: str) -> PromptStream:
    return desk.router.submit("paint", ImageRequest(text="a fox"), tenant)


def test_a_tenant_s_queue_spans_all_models_and_leaves_others_alone() -> None:
    desk = Desk(bounds=QueueBounds({"small": 2}))
    first = paint(desk, "small")
    desk.router.submit("chat", TextRequest(text="hi"), "small")
    with pytest.raises(QueueFullError) as caught:
        paint(desk, "small")
    assert (caught.value.code, caught.value.queue_length) == ("tenant_queue_full", 2)
    assert caught.value.retry_after_s is not None
    for _ in range(5):
        paint(desk, "large")
    first.cancel()
    paint(desk, "small")


@pytest.mark.parametrize("reason", [FinishReason.STOP, FinishReason.CANCELLED])
def test_every_end_makes_room(reason: FinishReason) -> None:
    desk = Desk(bounds=QueueBounds({"small": 1}))
    for _ in range(5):
        stream = paint(desk, "small")
        desk.clock.advance(4.0)
        if reason is FinishReason.STOP:
            desk.finish(stream)
        else:
            stream.cancel()
    paint(desk, "small")
    with pytest.raises(QueueFullError) as caught:
        paint(desk, "small")
    assert caught.value.retry_after_s == pytest.approx(3.2 if reason is FinishReason.STOP else 5.0)


def test_a_prompt_that_was_refused_is_not_counted() -> None:
    desk = Desk(bounds=QueueBounds({"small": 3}))
    streams = [desk.router.submit("chat", TextRequest(text="hi"), "small") for _ in range(2)]
    for _ in range(5):
        with pytest.raises(QueueFullError, match="queue of 'chat'"):
            desk.router.submit("chat", TextRequest(text="hi"), "small")
    paint(desk, "small")
    assert len(streams) == 2


def test_the_bounds_are_models_yaml_s() -> None:
    tenants = {"small": {"key": "k" * 8, "max_queue": 1}, "large": {"key": "l" * 8}}
    desk = Desk(bounds=queue_bounds(Settings.model_validate({"tenants": tenants})))
    paint(desk, "small")
    paint(desk, "large"), paint(desk, "large")
    with pytest.raises(QueueFullError):
        paint(desk, "small")


async def test_a_prompt_that_takes_too_long_fails_alone() -> None:
    desk = Desk()
    old = paint(desk, "a")
    desk.clock.advance(6.0)
    young = paint(desk, "a")
    desk.clock.advance(3.0)
    desk.router.end_overdue(10.0)
    assert desk.router.live == 2
    desk.clock.advance(1.0)
    desk.router.end_overdue(10.0)
    (end,) = await old.take()
    assert isinstance(end, Finished)
    assert end.reason is FinishReason.ERROR
    assert end.error is not None
    assert (end.error.status, end.error.code) == (400, "prompt_timeout")
    assert "10.0 s (host.prompt_timeout_s)" in end.error.message
    assert desk.sent[-1] == Cancel(old.prompt_id)
    assert desk.events.since(0)[-1].kind is EventKind.PROMPT_FAILED
    assert desk.router.live == 1
    desk.finish(young)


def test_jobs_take_the_time_that_others_leave_them() -> None:
    desk = Desk()
    paint(desk, account_of("a"))
    paint(desk, "a")
    desk.clock.advance(11.0)
    desk.router.end_overdue(10.0)
    assert [view.tenant for view in desk.router.views(desk.clock.now_s())] == [account_of("a")]


async def test_the_time_limit_watches_by_itself_and_only_if_there_is_one() -> None:
    desk = Desk()
    prompt = paint(desk, "a")
    desk.clock.advance(1e9)
    for timeout_s in (None, 1e6):
        limit = PromptTimeLimit(desk.router, timeout_s)
        limit.begin()
        if timeout_s is not None:
            (end,) = await prompt.take()
            assert isinstance(end, Finished)
        assert desk.router.live == (timeout_s is None)
        await limit.close()
        assert limit.faults == []

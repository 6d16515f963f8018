"""How prompts stand: kept by the router, shown in views, told to readers who asked; and what a prompt is worth."""

from __future__ import annotations

import pytest

from aquahost.daemon.lifecycle import WorkerExited, WorkerReady
from aquahost.daemon.notices import MOST_A_SECOND, Notices
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.errors import QueueFullError
from aquahost.messages.prompts import (
    Accepted,
    Notice,
    Output,
    PromptState,
    Sampling,
    StateChanged,
    TextRequest,
    Tokens,
)
from aquahost.messages.snapshot import PromptView
from aquahost.messages.wire import Standing, Submit
from aquahost.messages.words import standing_words, state_words
from router_desk import WORKER, Desk

WAITING, RUNNING, SUSPENDED = PromptState.WAITING, PromptState.RUNNING, PromptState.SUSPENDED


@pytest.fixture
def desk() -> Desk:
    return Desk({"gold": 3.0})


def curious(desk: Desk) -> PromptStream:
    """A prompt whose reader wants to know, accepted."""
    stream = desk.router.submit("chat", TextRequest(text="hi"), "tester", notices=True)
    desk.router.on_outputs(WORKER, [Accepted(stream.prompt_id, 1)])
    return stream


def stand(desk: Desk, *standings: Standing, after_s: float = 0.25) -> None:
    desk.clock.advance(after_s)
    desk.router.on_standings(WORKER, list(standings))


def turn(desk: Desk, stream: PromptStream, state: PromptState) -> None:
    desk.router.on_outputs(WORKER, [StateChanged(stream.prompt_id, state)])


def view(desk: Desk, stream: PromptStream) -> PromptView:
    return next(view for view in desk.router.views(desk.clock.now_s()) if view.id == stream.prompt_id)


async def said(stream: PromptStream) -> list[str]:
    return [output.text for output in await stream.take() if isinstance(output, Notice)]


@pytest.mark.parametrize(
    ("state", "place", "position", "next_slice_s", "words"),
    [
        (WAITING, "", None, None, "waiting"),
        (WAITING, "", 13, 1.44, "waiting, 12 before you, about 1.4 s"),
        (WAITING, "", 1, 0.02, "waiting, next in line, about 0.1 s"),
        (WAITING, "", 2, 0.0, "waiting, 1 before you"),
        (WAITING, "", 0, 0.0, "waiting, next in line"),
        (PromptState.PREFILLING, "", 0, 0.0, "prefilling"),
        (RUNNING, "", 0, 0.0, "running"),
        (SUSPENDED, "GPU 3", 2, 0.3, "paged to GPU 3, next slice in about 0.3 s"),
        (SUSPENDED, "GPU 3, host", 9, 12.4, "paged to GPU 3, host, next slice in about 12 s"),
        (SUSPENDED, "host", 9, 150.0, "paged to host, next slice in about 2m 30s"),
        (SUSPENDED, "", None, None, "suspended"),
    ],
)
def test_words(state: PromptState, place: str, position: int | None, next_slice_s: float | None, words: str) -> None:
    assert standing_words(state, place, position, next_slice_s) == words
    assert words.startswith(state_words(state, place))


def test_a_view_shows_the_last_standing(desk: Desk) -> None:
    stream = curious(desk)
    before = view(desk, stream)
    assert (before.service_s, before.place, before.position, before.next_slice_s) == (0.0, "", None, None)
    stand(desk, Standing(stream.prompt_id, 0.0, "", 3, 1.5), Standing("gone", 1.0))
    waits = view(desk, stream)
    assert (waits.state, waits.position, waits.next_slice_s) == (WAITING, 3, 1.5)
    turn(desk, stream, RUNNING)
    runs = view(desk, stream)
    assert (runs.state, runs.position, runs.next_slice_s) == (RUNNING, 0, 0.0)
    turn(desk, stream, SUSPENDED)
    assert view(desk, stream).position is None
    stand(desk, Standing(stream.prompt_id, 0.7, "GPU 3", 2, 0.3))
    paged = view(desk, stream)
    assert (paged.service_s, paged.place, paged.position, paged.next_slice_s) == (0.7, "GPU 3", 2, 0.3)


def test_another_worker_knows_nothing_of_this_one_s_prompts(desk: Desk) -> None:
    stream = curious(desk)
    desk.router.on_standings(WORKER + 1, [Standing(stream.prompt_id, 5.0, "", 3, 1.5)])
    assert view(desk, stream).service_s == 0.0


async def test_whoever_asks_is_told_what_has_changed(desk: Desk) -> None:
    stream = curious(desk)
    assert await stream.take() == [Accepted(stream.prompt_id, 1)]
    waits = Standing(stream.prompt_id, 0.0, "", 13, 1.4)
    stand(desk, waits)
    stand(desk, waits)
    assert await said(stream) == ["waiting, 12 before you, about 1.4 s"]
    turn(desk, stream, RUNNING)
    desk.router.on_outputs(WORKER, [Tokens(stream.prompt_id, "a", [1])] * 3)
    stand(desk, Standing(stream.prompt_id, 0.1))
    assert await said(stream) == ["running"]
    turn(desk, stream, SUSPENDED)
    stand(desk, Standing(stream.prompt_id, 0.1, "host", 1, 0.3))
    assert await said(stream) == ["paged to host, next slice in about 0.3 s"]


async def test_whoever_does_not_ask_is_told_nothing(desk: Desk) -> None:
    stream = desk.ask()
    outputs: list[Output] = [Accepted(stream.prompt_id, 1), StateChanged(stream.prompt_id, RUNNING)]
    desk.router.on_outputs(WORKER, outputs)
    stand(desk, Standing(stream.prompt_id, 0.1, "host", 1, 0.3))
    assert await stream.take() == outputs


async def test_nothing_is_told_before_the_prompt_is_accepted(desk: Desk) -> None:
    stream = desk.router.submit("chat", TextRequest(text="hi"), "tester", notices=True)
    stand(desk, Standing(stream.prompt_id, 0.0, "", 1, 0.3))
    accepted = Accepted(stream.prompt_id, 1)
    desk.router.on_outputs(WORKER, [accepted, StateChanged(stream.prompt_id, RUNNING)])
    first, *rest = await stream.take()
    assert first == accepted
    assert Notice(stream.prompt_id, "running") in rest


async def test_nothing_is_told_of_a_state_before_its_standing_is_known(desk: Desk) -> None:
    stream = curious(desk)
    stand(desk)
    stand(desk, Standing(stream.prompt_id, 0.0, position=2, next_slice_s=1.0))
    assert await said(stream) == ["waiting, 1 before you, about 1.0 s"]
    turn(desk, stream, SUSPENDED)
    stand(desk)
    stand(desk, Standing(stream.prompt_id, 0.0, place="host", position=1, next_slice_s=1.0))
    assert await said(stream) == ["paged to host, next slice in about 1.0 s"]


async def test_short_slices_are_told_a_few_times_a_second_and_the_last_word_is_true(desk: Desk) -> None:
    stream = curious(desk)
    for _ in range(50):
        turn(desk, stream, RUNNING)
        desk.clock.advance(0.01)
        turn(desk, stream, SUSPENDED)
        stand(desk, Standing(stream.prompt_id, 0.1, "host", 1, 0.01), after_s=0.01)
    turn(desk, stream, RUNNING)
    for _ in range(8):
        stand(desk)  # a report of figures alone
    words = await said(stream)
    assert words[-1] == "running"
    assert MOST_A_SECOND <= len(words) <= 2 * MOST_A_SECOND


def test_no_second_holds_more_than_its_share() -> None:
    notices = Notices()
    states = [RUNNING, SUSPENDED] * 150
    at_s = [turn * 0.01 for turn, state in enumerate(states) if notices.is_news(state, f"word {turn}", turn * 0.01)]
    assert len(at_s) == 3 * MOST_A_SECOND
    assert all(later - sooner >= 1.0 for sooner, later in zip(at_s, at_s[MOST_A_SECOND:], strict=False))


async def test_a_countdown_leaves_room_for_what_it_counts_down_to(desk: Desk) -> None:
    stream = curious(desk)
    for left in range(20, 0, -1):
        stand(desk, Standing(stream.prompt_id, 0.0, "", 1, left * 0.25))
    turn(desk, stream, RUNNING)
    *countdown, last = await said(stream)
    assert last == "running"
    assert len(countdown) == 10


async def test_after_its_worker_s_death_a_prompt_keeps_its_service_and_is_told_anew(desk: Desk) -> None:
    stream, model = curious(desk), desk.models["chat"]
    turn(desk, stream, RUNNING)
    stand(desk, Standing(stream.prompt_id, 2.0))
    model.supervision.handle(WorkerExited("exited"), 1.0)
    desk.router.strand(model, blamed=False)
    assert (view(desk, stream).state, view(desk, stream).service_s) == (WAITING, 2.0)
    assert view(desk, stream).position is None
    stand(desk)
    model.supervision.handle(WorkerReady(), 2.0)
    desk.router.carry_on(model)
    turn(desk, stream, RUNNING)
    stand(desk, Standing(stream.prompt_id, 0.5))
    assert view(desk, stream).service_s == 2.5
    assert await said(stream) == ["running", "the worker of chat died; this reply goes on soon", "running"]


async def test_a_prompt_that_has_ended_is_told_nothing_more(desk: Desk) -> None:
    stream = curious(desk)
    desk.finish(stream)
    stand(desk, Standing(stream.prompt_id, 1.0))
    assert await said(stream) == []
    assert await stream.take() == []


def test_a_prompt_has_its_tenant_s_weight_and_its_request_s_priority(desk: Desk) -> None:
    desk.router.submit("chat", TextRequest(text="hi"), "gold", priority=-3)
    desk.router.submit("chat", TextRequest(text="hi"), "default")
    sent = [message.prompt for message in desk.sent if isinstance(message, Submit)]
    assert [(prompt.weight, prompt.priority) for prompt in sent] == [(3.0, -3), (1.0, 0)]


def test_a_stream_knows_how_long_the_queue_was(desk: Desk) -> None:
    assert [desk.ask().queue_length, desk.ask().queue_length] == [1, 2]
    with pytest.raises(QueueFullError) as caught:
        desk.ask()
    assert caught.value.queue_length == 2


def test_a_view_tells_what_was_asked_for_and_how_long_the_prompt_has_waited(desk: Desk) -> None:
    request = TextRequest(text="hi", sampling=Sampling(max_tokens=7))
    stream = desk.router.submit("chat", request, "tester")
    desk.clock.advance(2.0)
    assert (view(desk, stream).max_tokens, view(desk, stream).waited_s) == (7, 2.0)
    turn(desk, stream, RUNNING)
    desk.clock.advance(5.0)
    assert view(desk, stream).waited_s == 2.0
    turn(desk, stream, SUSPENDED)
    desk.clock.advance(1.0)
    assert view(desk, stream).waited_s == 3.0

"""Prompts whose worker has died: what their streams get, and what the next worker is given."""

from __future__ import annotations

import pytest

from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.lifecycle import UnloadRequested
from aquahost.daemon.prompt_stream import PromptStream
from aquahost.errors import ModelUnavailableError
from aquahost.events import EventKind
from aquahost.messages.prompts import (
    Accepted,
    ErrorDetail,
    Finished,
    FinishReason,
    ImageRequest,
    Notice,
    Progress,
    PromptState,
    Tokens,
)
from aquahost.messages.wire import Cancel, Submit
from router_desk import WORKER, Desk

NEXT = WORKER + 1


class TwoWorkers(Desk):
    """A desk whose chat model's worker can die and be followed by another one."""

    def _send(self, worker_id: int, message: object) -> bool:
        assert worker_id in (WORKER, NEXT)
        if self.broken is not None:
            raise self.broken
        self.sent.append(message)  # type: ignore[arg-type]
        return True

    @property
    def chat(self) -> HostedModel:
        return self.models["chat"]

    def die(self, *, blamed: bool = False) -> bool:
        self.chat.worker_id = None
        return self.router.strand(self.chat, blamed=blamed)

    def come_back(self) -> list[str]:
        """The next worker is ready; returns whom it is given."""
        self.chat.worker_id = NEXT
        self.sent.clear()
        self.router.carry_on(self.chat)
        return self.given()

    def given(self) -> list[str]:
        """Prompts handed over since the last call."""
        given = [message.prompt.id for message in self.sent if isinstance(message, Submit)]
        self.sent.clear()
        return given

    def begun(self, *token_ids: int) -> PromptStream:
        """A prompt that was accepted and has produced these tokens."""
        stream = self.ask()
        self.router.on_outputs(
            WORKER, [Accepted(stream.prompt_id, 3), *(Tokens(stream.prompt_id, "x", [i]) for i in token_ids)]
        )
        return stream


@pytest.fixture
def desk() -> TwoWorkers:
    return TwoWorkers()


def test_the_next_worker_is_given_what_was_produced(desk: TwoWorkers) -> None:
    stream = desk.begun(7, 8)
    desk.die()
    desk.chat.worker_id = NEXT
    desk.sent.clear()
    desk.router.carry_on(desk.chat)
    (submit,) = desk.sent
    assert isinstance(submit, Submit)
    assert (submit.prompt.id, submit.prompt.produced_ids) == (stream.prompt_id, [7, 8])
    kinds = [event.kind for event in desk.events.since(0)]
    assert kinds[-2:] == [EventKind.PROMPTS_STRANDED, EventKind.PROMPTS_CARRIED_ON]


async def test_what_a_dead_worker_said_last_is_dropped_and_a_second_acceptance_is_not_told(desk: TwoWorkers) -> None:
    stream = desk.begun(7)
    await stream.take()
    desk.die()
    desk.come_back()
    desk.router.on_outputs(WORKER, [Tokens(stream.prompt_id, "late", [8])])
    desk.router.on_outputs(WORKER, [Finished(prompt_id=stream.prompt_id, reason=FinishReason.STOP)])
    desk.router.on_outputs(NEXT, [Accepted(stream.prompt_id, 3), Tokens(stream.prompt_id, "new", [8])])
    outputs = await stream.take()
    assert [output.text for output in outputs if isinstance(output, Tokens)] == ["new"]
    assert not any(isinstance(output, Accepted | Finished) for output in outputs)
    assert sum(isinstance(output, Notice) for output in outputs) == 1


async def test_a_prompt_that_was_not_accepted_yet_is_told_nothing(desk: TwoWorkers) -> None:
    stream = desk.ask()
    desk.die()
    desk.come_back()
    desk.router.on_outputs(NEXT, [Accepted(stream.prompt_id, 3)])
    assert await stream.take() == [Accepted(stream.prompt_id, 3)]


def test_suspects_go_one_at_a_time_and_newcomers_must_come_again(desk: TwoWorkers) -> None:
    first, second = desk.begun(1), desk.begun(1)
    desk.die(blamed=True)
    assert desk.come_back() == [first.prompt_id]
    with pytest.raises(ModelUnavailableError, match="the prompts that it had go first") as caught:
        desk.ask()
    assert caught.value.retry_after_s is not None
    desk.router.on_outputs(NEXT, [Accepted(first.prompt_id, 3)])
    assert desk.given() == []
    desk.router.on_outputs(NEXT, [Tokens(first.prompt_id, "x", [2])])
    assert desk.given() == [second.prompt_id]


async def test_the_guilty_one_fails_alone_and_is_not_to_be_sent_again(desk: TwoWorkers) -> None:
    first, second = desk.begun(1), desk.begun(1)
    assert not desk.die(blamed=True)
    desk.come_back()
    assert desk.die(blamed=True)
    ending = (await first.take())[-1]
    assert isinstance(ending, Finished)
    assert ending.error is not None
    assert (ending.error.status, ending.error.code) == (400, "worker_died_twice")
    assert desk.come_back() == [second.prompt_id]


async def test_a_suspect_whose_client_leaves_makes_nobody_guilty(desk: TwoWorkers) -> None:
    first, second = desk.begun(1), desk.begun(1)
    desk.die(blamed=True)
    desk.come_back()
    first.cancel()
    assert desk.sent == [Cancel(first.prompt_id)], "its worker may still be at work on it"
    assert not desk.die(blamed=True)
    assert desk.come_back() == [second.prompt_id]


def test_when_the_worker_is_heard_the_next_suspect_follows_one_that_left(desk: TwoWorkers) -> None:
    first, second = desk.begun(1), desk.begun(1)
    desk.die(blamed=True)
    desk.come_back()
    first.cancel()
    desk.router.on_outputs(NEXT, [])
    assert desk.given() == [second.prompt_id]


def test_the_stranded_are_let_in_while_their_model_drains(desk: TwoWorkers) -> None:
    first, second = desk.begun(1), desk.begun(1)
    desk.die(blamed=True)
    desk.come_back()
    desk.chat.supervision.handle(UnloadRequested(30.0, 2), 1.0)
    desk.router.on_outputs(NEXT, [Tokens(first.prompt_id, "x", [2])])
    assert desk.given() == [second.prompt_id]


async def test_ending_all_hands_nobody_over(desk: TwoWorkers) -> None:
    streams = [desk.begun(1), desk.begun(1)]
    desk.die(blamed=True)
    desk.come_back()
    desk.router.end_prompts(desk.chat, ErrorDetail(message="gone"))
    assert [type(message) for message in desk.sent] == [Cancel]
    assert desk.router.live == 0
    for stream in streams:
        assert isinstance((await stream.take())[-1], Finished)
    desk.ask()


async def test_a_prompt_that_cannot_be_handed_over_fails_alone(desk: TwoWorkers) -> None:
    stream = desk.begun(1)
    desk.die()
    desk.broken = ValueError("no")
    desk.come_back()
    ending = (await stream.take())[-1]
    assert isinstance(ending, Finished)
    assert ending.error is not None
    assert ending.error.code == "internal_error"
    assert desk.router.live == 0


def test_an_image_begins_again(desk: TwoWorkers) -> None:
    stream = desk.router.submit("paint", ImageRequest(text="a fox"), "tester")
    desk.router.on_outputs(WORKER, [Accepted(stream.prompt_id, 0, 20), Progress(stream.prompt_id, 3, 20)])
    desk.models["paint"].worker_id = None
    desk.router.strand(desk.models["paint"], blamed=False)
    (view,) = desk.router.views(desk.clock.now_s())
    assert (view.state, view.steps_done, view.steps, view.interruptions) == (PromptState.WAITING, None, 20, 1)

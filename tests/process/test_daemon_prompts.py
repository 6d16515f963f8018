"""Prompts through a daemon and real workers."""

from __future__ import annotations

import asyncio

import pytest

from aquahost.errors import InvalidRequestError, ModelUnavailableError, QueueFullError, UnknownModelError
from aquahost.events import EventKind
from aquahost.messages.prompts import Accepted, FinishReason, ImageRequest, PromptState
from daemon_fixtures import ask, collect, ending, first_token, running_daemon, text_of, toy, until, view


async def test_a_prompt_is_answered() -> None:
    async with running_daemon({"chat": toy()}) as daemon:
        outputs = await collect(ask(daemon, "chat", max_tokens=5))
        assert isinstance(outputs[0], Accepted)
        assert len(text_of(outputs).split()) == 5
        assert (ending(outputs).reason, ending(outputs).output_tokens) == (FinishReason.LENGTH, 5)
        assert view(daemon, "chat").queue == 0
        kinds = [event.kind for event in daemon._events.since(0)]
        assert kinds[-2:] == [EventKind.PROMPT_QUEUED, EventKind.PROMPT_FINISHED]


async def test_many_prompts_share_a_model_and_get_the_answers_they_would_get_alone() -> None:
    async with running_daemon({"chat": toy(step_s=0)}) as daemon:
        alone = [text_of(await collect(ask(daemon, "chat", text=f"prompt {n}", max_tokens=20))) for n in range(8)]
        streams = [ask(daemon, "chat", text=f"prompt {n % 8}", max_tokens=20) for n in range(64)]
        together = [text_of(outputs) for outputs in await asyncio.gather(*map(collect, streams))]
        assert together == alone * 8


async def test_models_work_at_the_same_time_on_different_gpus() -> None:
    async with running_daemon({"a": toy(), "b": toy(), "c": toy()}) as daemon:
        answers = await asyncio.gather(*(collect(ask(daemon, name)) for name in "abc"))
        assert [ending(outputs).output_tokens for outputs in answers] == [5, 5, 5]
        snapshot = daemon.snapshot()
        assert [model.gpu for model in snapshot.models] == [0, 1, 2]
        assert len({model.pid for model in snapshot.models}) == 3
        assert [gpu.models for gpu in snapshot.gpus] == [["a"], ["b"], ["c"], []]


async def test_a_cancelled_prompt_leaves_the_engine() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        stream = ask(daemon, "chat", max_tokens=100_000)
        await first_token(stream)
        (live,) = daemon.snapshot().prompts
        assert (live.id, live.state, live.tenant) == (stream.prompt_id, PromptState.RUNNING, "tester")
        daemon.cancel(stream.prompt_id)
        assert ending(await collect(stream)).reason is FinishReason.CANCELLED
        assert daemon.snapshot().prompts == []
        await until(lambda: (stats := view(daemon, "chat").stats) is not None and stats.running == stats.waiting == 0)
        assert ending(await collect(ask(daemon, "chat"))).output_tokens == 5


async def test_a_full_queue_refuses() -> None:
    async with running_daemon({"chat": toy(step_s=0.01, max_queue=2)}) as daemon:
        streams = [ask(daemon, "chat", max_tokens=100_000) for _ in range(2)]
        with pytest.raises(QueueFullError) as caught:
            ask(daemon, "chat")
        assert caught.value.retry_after_s is not None
        assert view(daemon, "chat").queue == 2
        streams[0].cancel()
        assert ending(await collect(ask(daemon, "chat"))).reason is FinishReason.LENGTH


async def test_what_the_engine_refuses_comes_back_as_a_client_s_mistake() -> None:
    async with running_daemon({"chat": toy(max_context=8)}) as daemon:
        (refusal,) = await collect(ask(daemon, "chat", text="word " * 9))
        error = ending([refusal]).error
        assert error is not None
        assert (error.status, error.code) == (400, "context_length_exceeded")
        with pytest.raises(InvalidRequestError):
            daemon.submit("chat", ImageRequest(text="a fox"), tenant="tester")
        with pytest.raises(UnknownModelError):
            ask(daemon, "chats")


async def test_stopping_lets_prompts_end_and_refuses_new_ones() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        stream = ask(daemon, "chat", max_tokens=30)
        await first_token(stream)
        stopping = asyncio.create_task(daemon.stop(20.0))
        await asyncio.sleep(0)
        with pytest.raises(ModelUnavailableError, match="shutting down"):
            ask(daemon, "chat")
        with pytest.raises(ModelUnavailableError, match="shutting down"):
            daemon.load("chat")
        assert daemon.readiness() == ["the daemon is shutting down"]
        assert ending(await collect(stream)).reason is FinishReason.LENGTH
        await stopping


async def test_a_drained_daemon_says_so_until_it_shuts_down() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        stream = ask(daemon, "chat", max_tokens=1_000_000)
        await first_token(stream)
        await daemon.drain()
        for refused in (lambda: ask(daemon, "chat"), lambda: daemon.load("chat")):
            with pytest.raises(ModelUnavailableError, match="the daemon is draining; ") as caught:
                refused()
            assert caught.value.code == "draining"
        assert daemon.readiness() == ["the daemon is draining"]
        assert daemon.snapshot().draining
        daemon.request_shutdown(20.0)
        await daemon.drain()
        with pytest.raises(ModelUnavailableError, match="the daemon is shutting down") as caught:
            ask(daemon, "chat")
        assert caught.value.code == "shutting_down"
        assert daemon.readiness() == ["the daemon is shutting down"]
        assert [event.kind for event in daemon._events.since(0)].count(EventKind.DAEMON_DRAINING) == 1
        stream.cancel()


async def test_asking_again_hurries_a_stop() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        stream = ask(daemon, "chat", max_tokens=1_000_000)
        await first_token(stream)
        stopping = asyncio.create_task(daemon.stop(3600.0))
        await asyncio.sleep(0)
        daemon.request_shutdown(0.0)
        await stopping
        error = ending(await collect(stream)).error
        assert error is not None
        assert (error.status, error.code) == (503, "shutting_down")


async def test_followers_of_events_hear_them_to_the_end() -> None:
    async with running_daemon({"chat": toy()}) as daemon:

        async def follow() -> list[EventKind]:
            return [event.kind async for event in daemon.events(0)]

        following = asyncio.create_task(follow())
        await collect(ask(daemon, "chat"))
        await daemon.stop(0.0)
        assert await following == [
            EventKind.DAEMON_STARTED,
            EventKind.MODEL_LOADING,
            EventKind.MODEL_READY,
            EventKind.PROMPT_QUEUED,
            EventKind.PROMPT_FINISHED,
            EventKind.DAEMON_DRAINING,
            EventKind.MODEL_DRAINING,
            EventKind.MODEL_UNLOADED,
        ]

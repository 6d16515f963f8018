"""A prompt's output for those who look on: all of it, for each at its own pace, at no cost to the prompt."""

from __future__ import annotations

import asyncio

import pytest

from aquahost.daemon.reply_so_far import ReplySoFar, Seen
from aquahost.errors import UnknownPromptError
from aquahost.messages.prompts import Accepted, Finished, FinishReason, ImageRequest, Progress, Tokens
from router_desk import WORKER, Desk

END = Finished(prompt_id="p", reason=FinishReason.STOP)


async def all_of(reply: ReplySoFar) -> list[Seen]:
    return [seen async for seen in reply.follow()]


async def test_a_watcher_gets_the_text_so_far_then_what_comes_then_the_end() -> None:
    reply = ReplySoFar("p")
    reply.add_text("grü")
    reply.add_text("ße")
    watching = reply.follow()
    assert await anext(watching) == Tokens("p", "grüße", [])
    coming = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    assert not coming.done()
    reply.add_text("!")
    assert await coming == Tokens("p", "!", [])
    reply.end(END)
    assert await anext(watching) == END
    assert [seen async for seen in watching] == []


async def test_watchers_are_told_the_same_each_at_its_own_pace() -> None:
    reply = ReplySoFar("p")
    eager = asyncio.ensure_future(all_of(reply))
    slow = reply.follow()
    for piece in ("a", "b", "c"):
        reply.add_text(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    reply.end(END)
    assert await eager == [Tokens("p", "a", []), Tokens("p", "b", []), Tokens("p", "c", []), END]
    assert [seen async for seen in slow] == [Tokens("p", "abc", []), END]


async def test_a_watcher_that_has_gone_leaves_nothing_behind() -> None:
    reply = ReplySoFar("p")
    gone = asyncio.ensure_future(all_of(reply))
    await asyncio.sleep(0)
    assert len(reply._watchers) == 1
    gone.cancel()
    await asyncio.wait([gone])
    assert not reply._watchers
    reply.add_text("a")


async def test_steps_that_nobody_saw_are_passed_over() -> None:
    reply = ReplySoFar("p")
    watching = reply.follow()
    for step in (1, 2, 3):
        reply.come_to(Progress("p", step, 9))
    assert await anext(watching) == Progress("p", 3, 9)
    reply.come_to(Progress("p", 1, 9))  # its worker died, and it began again
    assert await anext(watching) == Progress("p", 1, 9)
    reply.come_to(Progress("p", 2, 9))
    reply.end(END)
    assert [seen async for seen in watching] == [Progress("p", 2, 9), END]


async def test_a_live_prompt_can_be_watched_and_no_other() -> None:
    desk = Desk()
    stream = desk.ask()
    desk.router.on_outputs(WORKER, [Accepted(stream.prompt_id, 3), Tokens(stream.prompt_id, "ab", [1, 2])])
    watching = desk.router.output(stream.prompt_id)
    assert await anext(watching) == Tokens(stream.prompt_id, "ab", [])
    desk.router.cancel(stream.prompt_id)
    end = await anext(watching)
    assert isinstance(end, Finished)
    assert (end.reason, end.input_tokens, end.output_tokens) == (FinishReason.CANCELLED, 3, 2)
    for gone in (stream.prompt_id, "nobody"):
        with pytest.raises(UnknownPromptError, match="no live prompt"):
            desk.router.output(gone)
    image = desk.router.submit("paint", ImageRequest(text="x"), "tester")
    desk.router.on_outputs(WORKER, [Progress(image.prompt_id, 1, 4)])
    assert await anext(desk.router.output(image.prompt_id)) == Progress(image.prompt_id, 1, 4)


def test_snapshots_do_not_contain_what_prompts_produce() -> None:
    desk = Desk()
    stream = desk.ask()
    desk.router.on_outputs(WORKER, [Tokens(stream.prompt_id, "a secret", [1])])
    assert "secret" not in repr(desk.router.views(desk.clock.now_s()))
    assert "secret" not in repr(desk.events.since(0))

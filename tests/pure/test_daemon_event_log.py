"""The daemon's recent events and their followers."""

from __future__ import annotations

import asyncio

from aquahost.daemon.event_log import EventLog
from aquahost.events import Event, EventKind


def add(log: EventLog, message: str) -> Event:
    return log.add(EventKind.MODEL_READY, message)


def test_events_are_numbered_from_one_and_the_oldest_are_dropped() -> None:
    log = EventLog(kept=3)
    for message in "abcde":
        add(log, message)
    assert log.last_seq == 5
    assert [(event.seq, event.message) for event in log.since(0)] == [(3, "c"), (4, "d"), (5, "e")]
    assert [event.seq for event in log.since(4)] == [5]
    assert log.since(5) == log.since(99) == []


async def test_a_follower_reads_what_was_and_what_comes_until_the_log_closes() -> None:
    log = EventLog()
    add(log, "before")
    seen: list[str] = []
    note = seen.append

    async def follow() -> None:
        async for event in log.follow(0):
            note(event.message)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    add(log, "one")
    add(log, "two")
    await asyncio.sleep(0.01)
    assert seen == ["before", "one", "two"]
    add(log, "last")
    log.close()
    await following
    assert seen[-1] == "last"


async def test_a_follower_that_leaves_is_forgotten() -> None:
    log = EventLog()
    following = asyncio.create_task(anext(aiter(log.follow(0))))
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    add(log, "nobody hears this")
    assert [event.message for event in log.since(0)] == ["nobody hears this"]

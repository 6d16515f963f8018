"""How the clients of `aquahost chaos` take what happens to them: what is a loss, and what is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest

from aquahost.bench.chaos import crowd as crowds
from aquahost.bench.chaos.asks import Ask
from aquahost.bench.chaos.crowd import Crowd, Tally
from aquahost.bench.chaos.exchange import CutOffError, FailedError, RefusedError
from aquahost.bench.chaos.host import ChaosHost

ASK = Ask(model="m", path="/v1/completions", body={}, streamed=True)


@dataclass
class FakeHost:
    """A daemon that dies on request, and is up again at once."""

    url: str = "http://host"
    deaths: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)

    async def snapshot(self) -> Any:
        raise httpx.ConnectError("no daemon")


Step = Callable[[FakeHost, Callable[[bool], None]], str]


def fails(error: Exception, *, dies: bool = False) -> Step:
    def step(host: FakeHost, _: Callable[[bool], None]) -> str:
        host.deaths += dies
        raise error

    return step


def says(text: str, *, stranded: bool = False) -> Step:
    def step(_: FakeHost, on_life: Callable[[bool], None]) -> str:
        for piece in (False, stranded, False):
            on_life(piece)
        return text

    return step


async def tally_of(monkeypatch: pytest.MonkeyPatch, *steps: Step) -> tuple[Tally, Crowd]:
    """One client, whose requests meet with these steps in turn; it ends with the last of them."""
    host, left = FakeHost(), list(steps)
    host.up.set()
    crowd = Crowd(cast("ChaosHost", host), [ASK], ["right"], clients=1)
    crowd.killed_s["m"] = 0.0

    async def exchange(_: object, __: str, ask: Ask, on_life: Callable[[bool], None]) -> str:
        step = left.pop(0)
        if not left:
            crowd.over.set()
        return step(host, on_life)

    monkeypatch.setattr(crowds, "exchange", exchange)
    await crowd.run()
    return crowd.tally, crowd


async def test_right_and_wrong_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, _ = await tally_of(monkeypatch, says("right"), says("wrong"))
    assert (tally.answered, len(tally.wrong), tally.lost, tally.survivors) == (2, 1, [], 0)


async def test_a_broken_connection_is_a_loss_only_if_the_daemon_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    killed, _ = await tally_of(monkeypatch, fails(CutOffError("cut"), dies=True), says("right"))
    assert (killed.sent_again, killed.answered, killed.lost) == (1, 1, [])
    living, _ = await tally_of(monkeypatch, fails(CutOffError("cut")), says("right"))
    assert (living.sent_again, living.answered, living.lost) == (0, 1, ["m: cut"])


async def test_who_is_told_to_come_again_does_and_a_failure_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, _ = await tally_of(monkeypatch, fails(RefusedError(0.0)), says("right"), fails(FailedError("HTTP 500")))
    assert (tally.refused, tally.answered, tally.lost) == (1, 1, ["m: HTTP 500"])


async def test_a_stream_that_outlives_its_worker_tells_how_long_it_was_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, crowd = await tally_of(monkeypatch, says("right", stranded=True))
    assert (tally.survivors, len(crowd.resumed_s)) == (1, 1)


async def test_a_prompt_without_an_end_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd(cast("ChaosHost", FakeHost()), [ASK], ["right"], clients=1)
    crowd.over.set()
    monkeypatch.setattr(crowds, "PATIENCE_S", 0.05)
    async with httpx.AsyncClient() as http:
        with pytest.raises(TimeoutError):  # the host never comes up
            await crowd._patiently(http, ASK, asyncio.get_running_loop().time())

"""Rounds of sudden death: of workers while they compute or load, and of the daemon."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from aquahost.bench.chaos.crowd import Crowd
from aquahost.bench.chaos.host import LOOK_S, ChaosHost, all_ready
from aquahost.messages.snapshot import ModelState, ModelView, Snapshot

_LONGEST_PAUSE_S = 1.0
"""Before each kill, so that it falls at any moment of a prompt's life."""
_AT_ONCE = 0.15
"""Share of rounds that do not wait for the last one's recovery: the next kill may meet a worker that loads."""
_IN_THE_MIDST = 0.5
"""Share of kills that wait for a reply to have begun, so that there is something to go on with."""
_BEGUN_S = 5.0
"""How long they wait for it at most."""
_RECOVER_S = 120.0
"""After which a model that is not back has not recovered."""
_ORPHAN_S = 10.0
"""After which a dead daemon's process that still lives is an orphan."""


@dataclass(slots=True)
class Kills:
    """What was killed, and how soon it was back. Times in seconds from the kill."""

    workers: int = 0
    while_loading: int = 0
    """Of them before they were ready."""
    daemons: int = 0
    ready_s: list[float] = field(default_factory=list)
    """Until a killed worker's model takes prompts again."""
    daemon_ready_s: list[float] = field(default_factory=list)
    """Until all models of a killed daemon do, its start by hand included."""
    gone_s: list[float] = field(default_factory=list)
    """Until no process of a killed daemon is left."""
    not_back: list[str] = field(default_factory=list)
    """Models that did not recover, and in what state they were."""
    orphans: list[int] = field(default_factory=list)
    """Processes that outlived their daemon."""


class Killer:
    """Kills at random, in an order that the seed decides, and waits for what comes back."""

    def __init__(self, host: ChaosHost, crowd: Crowd, *, seed: int, say: Callable[[str], None]) -> None:
        self._host, self._crowd, self._say = host, crowd, say
        self._random = random.Random(seed)
        self.kills = Kills()

    async def run(self, rounds: int, daemon_kills: int) -> None:
        """So many kills of workers and of the daemon, mixed; then all is left alone until it is ready."""
        plan = [False] * rounds + [True] * daemon_kills
        self._random.shuffle(plan)
        for number, is_daemon in enumerate(plan):
            await asyncio.sleep(self._random.uniform(0.0, _LONGEST_PAUSE_S))
            if is_daemon:
                await self._kill_daemon()
            else:
                await self._kill_worker()
            if (number + 1) % 10 == 0:
                self._say(f"{number + 1} of {len(plan)} rounds, {self._crowd.tally.answered} prompts answered")
        if not await self._host.seen(all_ready, _RECOVER_S):
            states = [f"{model.name} is {model.state}" for model in (await self._host.snapshot()).models]
            self.kills.not_back.append(f"at the end {', '.join(states)}")

    async def _kill_worker(self) -> None:
        running = [model for model in (await self._host.snapshot()).models if model.pid is not None]
        if not running:
            return
        model = self._random.choice(running)
        if self._random.random() < _IN_THE_MIDST and model.state is ModelState.READY:
            await self._host.seen(lambda snapshot: _has_begun(snapshot, model.name), _BEGUN_S)
        assert model.pid is not None
        self._crowd.killed_s[model.name] = time.monotonic()
        with suppress(ProcessLookupError):  # it died by itself, which the checks at the end will tell
            os.kill(model.pid, signal.SIGKILL)
        self.kills.workers += 1
        self.kills.while_loading += model.state is not ModelState.READY
        if self._random.random() >= _AT_ONCE:
            await self._await_ready(model)

    async def _await_ready(self, killed: ModelView) -> None:
        began_s = self._crowd.killed_s[killed.name]
        is_back = await self._host.seen(
            lambda snapshot: any(
                model.name == killed.name and model.state is ModelState.READY and model.pid != killed.pid
                for model in snapshot.models
            ),
            _RECOVER_S,
        )
        if is_back:
            self.kills.ready_s.append(time.monotonic() - began_s)
        else:
            self.kills.not_back.append(f"{killed.name} is not ready {_RECOVER_S:.0f} s after its worker was killed")

    async def _kill_daemon(self) -> None:
        names = [model.name for model in (await self._host.snapshot()).models]
        doomed = set(self._host.processes())
        began_s = time.monotonic()
        self._host.kill()
        self.kills.daemons += 1
        while left := doomed & set(self._host.processes()):
            if time.monotonic() - began_s > _ORPHAN_S:
                self.kills.orphans += sorted(left)
                break
            await asyncio.sleep(LOOK_S)
        else:
            self.kills.gone_s.append(time.monotonic() - began_s)
        await self._host.restart()
        self._crowd.killed_s.update(dict.fromkeys(names, time.monotonic()))  # clients' patience begins anew
        self.kills.daemon_ready_s.append(time.monotonic() - began_s)


def _has_begun(snapshot: Snapshot, model: str) -> bool:
    """Whether a reply of the model is under way."""
    return any(one.model == model and (one.output_tokens or one.steps_done) for one in snapshot.prompts)

"""Reloads one upon another, and what is asked of models on their way out; in the daemon, without commands."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import yaml

from aquahost.config.source import SettingsSource
from aquahost.daemon.daemon import Daemon
from aquahost.errors import InvalidRequestError, ModelUnavailableError, UnknownModelError
from aquahost.messages.snapshot import ModelState
from daemon_fixtures import (
    ask,
    collect,
    ending,
    first_token,
    ready,
    running_daemon,
    text_of,
    toy,
    until,
    view,
    worker_pid,
)

Models = dict[str, dict[str, object]]


def names(daemon: Daemon) -> list[str]:
    return [model.name for model in daemon.snapshot().models]


class Desk:
    """A daemon's models.yaml, and its reloads."""

    def __init__(self, daemon: Daemon, file: Path) -> None:
        self._daemon, self._file = daemon, file

    async def reload(self, models: Models, **parts: object) -> dict[str, str]:
        self._file.write_text(yaml.safe_dump({"models": models, **parts}))
        return {change.key: change.effect for change in (await self._daemon.configuration.reload(None)).changes}


async def test_what_a_draining_model_becomes_may_change_meanwhile(tmp_path: Path) -> None:
    slow, fast = toy(step_s=0.01), toy(step_s=0.002)
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": slow}, source=source) as daemon:
        desk, pid = Desk(daemon, source.path), worker_pid(daemon, "chat")
        live = ask(daemon, "chat", max_tokens=150)
        await first_token(live)
        assert (await desk.reload({}))["models.chat"] == "drains, then unloads"
        with pytest.raises(ModelUnavailableError):
            ask(daemon, "chat")
        with pytest.raises(ModelUnavailableError, match="no longer in"):
            daemon.load("chat")
        assert (await desk.reload({"chat": fast}))["models.chat"] == "loads"
        assert view(daemon, "chat").state is ModelState.DRAINING
        daemon.load("chat")  # it will, by itself
        assert view(daemon, "chat").state is ModelState.DRAINING
        outputs = await collect(live)
        assert ending(outputs).error is None
        await until(lambda: view(daemon, "chat").state is ModelState.READY)
        assert worker_pid(daemon, "chat") != pid
        assert daemon.settings.models["chat"].toy.step_s == 0.002
        assert ending(await collect(ask(daemon, "chat"))).error is None


async def test_a_removed_model_is_forgotten_and_may_come_back(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": toy(), "other": toy()}, source=source) as daemon:
        desk, other = Desk(daemon, source.path), worker_pid(daemon, "other")
        await desk.reload({"other": toy()})
        await until(lambda: names(daemon) == ["other"])
        with pytest.raises(UnknownModelError):
            ask(daemon, "chat")
        await desk.reload({"other": toy(), "chat": toy()})
        await ready(daemon, "chat")
        assert worker_pid(daemon, "other") == other


async def test_a_model_that_failed_is_tried_with_its_new_entry(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": toy(fail="no luck")}, ready=False, source=source) as daemon:
        await until(lambda: view(daemon, "chat").state is ModelState.FAILED)
        assert await Desk(daemon, source.path).reload({"chat": toy()}) == {
            "models.chat.toy.fail": "drains, then loads anew"
        }
        await ready(daemon, "chat")


async def test_prompts_that_outlast_drain_s_end_with_the_reason(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": toy(step_s=0.01)}, source=source, drain_s=0.1) as daemon:
        live = ask(daemon, "chat", max_tokens=10**9)
        await first_token(live)
        effects = await Desk(daemon, source.path).reload({}, host={"drain_s": 0.1})
        assert effects == {"models.chat": "drains, then unloads"}
        error = ending(await collect(live)).error
        assert error is not None
        assert error.code == "model_unloaded"
        await until(lambda: not names(daemon))


async def test_tenants_weights_and_queues_hold_for_the_next_prompt(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": toy(step_s=0.01)}, source=source) as daemon:
        desk, pid = Desk(daemon, source.path), worker_pid(daemon, "chat")
        tenants = {"tester": {"key": "a-secret", "weight": 5}}
        assert await desk.reload({"chat": toy(step_s=0.01, max_queue=1)}, tenants=tenants) == {
            "models.chat.max_queue": "in effect",
            "tenants.tester": "in effect",
        }
        live = ask(daemon, "chat", max_tokens=10**9)
        assert [(tenant.name, tenant.weight) for tenant in daemon.snapshot().tenants] == [("tester", 5.0)]
        assert view(daemon, "chat").max_queue == 1
        assert worker_pid(daemon, "chat") == pid
        live.cancel()


async def test_reloads_at_the_same_time_go_one_after_another_and_none_once_it_drains(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    source.path.write_text(yaml.safe_dump({"models": {"chat": toy(), "new": toy()}}))
    async with running_daemon({"chat": toy()}, source=source) as daemon:
        done = await asyncio.gather(*(daemon.configuration.reload(None) for _ in range(3)))
        assert sorted(len(reloaded.changes) for reloaded in done) == [0, 0, 1]
        await ready(daemon, "new")
        await daemon.drain()
        with pytest.raises(ModelUnavailableError):
            await daemon.configuration.reload(None)


async def test_a_daemon_without_a_file_says_so() -> None:
    async with running_daemon({}) as daemon:
        with pytest.raises(InvalidRequestError, match="not started from"):
            await daemon.configuration.reload(None)


async def test_prompts_whose_worker_died_are_drained_by_the_next_one(tmp_path: Path) -> None:
    source = SettingsSource(path=tmp_path / "models.yaml", env={})
    async with running_daemon({"chat": toy(step_s=0.005)}, source=source) as daemon:
        live = ask(daemon, "chat", max_tokens=100)
        outputs = await first_token(live)
        os.kill(worker_pid(daemon, "chat"), signal.SIGKILL)
        await until(lambda: view(daemon, "chat").state is ModelState.LOADING)
        await Desk(daemon, source.path).reload({"chat": toy(step_s=0.002)})
        outputs += await collect(live)
        assert ending(outputs).error is None
        assert len(text_of(outputs).split()) == 100
        await until(lambda: view(daemon, "chat").state is not ModelState.READY)
        await ready(daemon, "chat")
        assert ending(await collect(ask(daemon, "chat"))).error is None

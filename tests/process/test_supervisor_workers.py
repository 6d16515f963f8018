"""Workers that load, die, hang, refuse and stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from aquahost.daemon.worker_log import KEPT_BYTES, LIVE_BYTES
from aquahost.errors import ModelUnavailableError
from aquahost.messages.prompts import Accepted, FinishReason, Notice
from aquahost.messages.snapshot import ModelState
from daemon_fixtures import (
    ask,
    collect,
    ending,
    first_token,
    process_lives,
    ready,
    running_daemon,
    text_of,
    toy,
    until,
    view,
    worker_pid,
)


async def test_a_load_shows_its_progress() -> None:
    async with running_daemon({"chat": toy(load_s=0.5)}, ready=False) as daemon:
        await until(lambda: (load := view(daemon, "chat").load) is not None and 0 < load.done < load.total)
        assert view(daemon, "chat").state is ModelState.LOADING
        assert daemon.readiness() == ["chat: loading"]
        assert daemon.health() == []
        with pytest.raises(ModelUnavailableError) as caught:
            ask(daemon, "chat")
        assert caught.value.retry_after_s is not None
        await ready(daemon, "chat")
        assert (view(daemon, "chat").load, daemon.readiness()) == (None, [])


async def test_a_killed_worker_comes_back_and_another_model_never_notices() -> None:
    async with running_daemon({"victim": toy(step_s=0.01), "other": toy(step_s=0.002)}) as daemon:
        other_pid, pid = worker_pid(daemon, "other"), worker_pid(daemon, "victim")
        undisturbed = ask(daemon, "other", max_tokens=400)
        expected = text_of(await collect(ask(daemon, "victim", max_tokens=100)))
        carried, fresh = ask(daemon, "victim", max_tokens=100), ask(daemon, "victim")
        begun = await first_token(carried)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: view(daemon, "victim").state is ModelState.LOADING)
        assert daemon.health() == daemon.readiness() == ["victim: its worker died"]
        with pytest.raises(ModelUnavailableError):
            ask(daemon, "victim")
        await ready(daemon, "victim")
        model = view(daemon, "victim")
        assert (model.restarts, model.reason) == (1, "its worker was killed by SIGKILL")
        assert model.pid != pid
        assert daemon.health() == []
        outputs = begun + await collect(carried)
        assert [output.text for output in outputs if isinstance(output, Notice)] == [
            "the worker of victim died; this reply goes on soon"
        ]
        assert (text_of(outputs), ending(outputs).output_tokens) == (expected, 100)
        assert sum(isinstance(output, Accepted) for output in outputs) == 1
        assert ending(await collect(fresh)).reason is FinishReason.LENGTH
        assert ending(await collect(undisturbed)).output_tokens == 400
        assert (worker_pid(daemon, "other"), view(daemon, "other").restarts) == (other_pid, 0)


async def test_crashes_in_a_row_end_in_failure_and_loading_begins_anew() -> None:
    async with running_daemon({"chat": toy()}, max_restarts=1) as daemon:
        os.kill(worker_pid(daemon, "chat"), signal.SIGTERM)
        await until(lambda: view(daemon, "chat").restarts == 1)
        await ready(daemon, "chat")
        os.kill(worker_pid(daemon, "chat"), signal.SIGABRT)
        await until(lambda: view(daemon, "chat").state is ModelState.FAILED)
        model = view(daemon, "chat")
        assert model.reason == "its worker died 2 times in a row; at last it was killed by SIGABRT"
        assert (model.pid, model.gpu) == (None, None)
        assert daemon.health() == ["chat: its worker died"]
        assert daemon.readiness() == ["chat: failed (see `aquahost ps`)"]
        with pytest.raises(ModelUnavailableError, match="its worker died") as caught:
            ask(daemon, "chat")
        assert caught.value.retry_after_s is None
        daemon.load("chat")
        await ready(daemon, "chat")


async def test_a_step_that_hangs_costs_the_worker_its_life() -> None:
    async with running_daemon({"chat": toy(step_s=600)}, step_timeout_s=0.2) as daemon:
        pid = worker_pid(daemon, "chat")
        error = ending(await collect(ask(daemon, "chat"))).error
        assert error is not None
        assert (error.status, error.code) == (400, "worker_died_twice")
        assert error.message == "the worker of chat died twice over this prompt; see `aquahost logs chat`"
        assert "its worker hung for" in (view(daemon, "chat").reason or "")
        await until(lambda: not process_lives(pid))
        await ready(daemon, "chat")
        assert view(daemon, "chat").restarts == 2


async def test_prompts_that_wait_for_a_restart_can_be_cancelled_and_end_with_their_model() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        unwanted, unserved = ask(daemon, "chat", max_tokens=10_000), ask(daemon, "chat", max_tokens=10_000)
        await first_token(unserved)
        os.kill(worker_pid(daemon, "chat"), signal.SIGKILL)
        await until(lambda: view(daemon, "chat").state is ModelState.LOADING)
        unwanted.cancel()
        assert ending(await collect(unwanted)).reason is FinishReason.CANCELLED
        await daemon.unload("chat", 0.0)
        error = ending(await collect(unserved)).error
        assert error is not None
        assert error.code == "model_unloaded"
        assert view(daemon, "chat").state is ModelState.UNLOADED


async def test_a_silent_worker_is_replaced() -> None:
    async with running_daemon({"chat": toy()}, heartbeat_timeout_s=2.0) as daemon:
        pid = worker_pid(daemon, "chat")
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: any("no sign of life" in problem for problem in daemon.health()))
        await until(lambda: view(daemon, "chat").restarts)
        assert "no sign of life" in (view(daemon, "chat").reason or "")
        assert not process_lives(pid)
        await ready(daemon, "chat")


async def test_a_model_that_cannot_be_loaded_says_why_and_harms_no_other() -> None:
    async with running_daemon({"bad": toy(fail="no model in /nowhere"), "good": toy()}, ready=False) as daemon:
        await ready(daemon, "good")
        await until(lambda: view(daemon, "bad").state is ModelState.FAILED and view(daemon, "bad").pid is None)
        model = view(daemon, "bad")
        assert (model.reason, model.restarts) == ("no model in /nowhere", 0)
        assert daemon.health() == []
        assert daemon.readiness() == ["bad: failed (see `aquahost ps`)"]
        assert "no model in /nowhere" in daemon.log_path("bad").read_text()
        with pytest.raises(ModelUnavailableError, match="/nowhere"):
            ask(daemon, "bad")
        assert ending(await collect(ask(daemon, "good"))).reason is FinishReason.LENGTH


async def test_a_gpu_that_does_not_exist_fails_the_model_naming_those_that_do() -> None:
    async with running_daemon({"far": toy(gpu=9), "near": toy(gpu=1)}, ready=False, gpus=2) as daemon:
        await until(lambda: view(daemon, "far").state is ModelState.FAILED)
        assert "gpu: 9 does not exist; this machine has GPUs 0, 1" in (view(daemon, "far").reason or "")
        await ready(daemon, "near")
        assert view(daemon, "near").gpu == 1


async def test_unloading_lets_prompts_end_frees_the_process_and_loading_brings_it_back() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        pid = worker_pid(daemon, "chat")
        stream = ask(daemon, "chat", max_tokens=30)
        await first_token(stream)
        unloading = asyncio.create_task(daemon.unload("chat", 20.0))
        await until(lambda: view(daemon, "chat").state is ModelState.DRAINING)
        with pytest.raises(ModelUnavailableError, match="being unloaded"):
            ask(daemon, "chat")
        assert ending(await collect(stream)).reason is FinishReason.LENGTH
        await unloading
        model = view(daemon, "chat")
        assert (model.state, model.pid, model.gpu, model.footprint) == (ModelState.UNLOADED, None, None, None)
        assert not process_lives(pid)
        assert daemon.health() == daemon.readiness() == []
        daemon.load("chat")
        await ready(daemon, "chat")
        assert view(daemon, "chat").restarts == 0


async def test_unloading_a_failed_model_waits_for_its_worker_s_end() -> None:
    async with running_daemon({"bad": toy(fail="no luck")}, ready=False) as daemon:
        model = daemon._models["bad"]
        while model.state is not ModelState.FAILED:
            await model.change()
        pid = worker_pid(daemon, "bad")  # it has failed, and still ends
        await daemon.unload("bad", 0.0)
        assert view(daemon, "bad").pid is None
        assert not process_lives(pid)


async def test_a_log_is_kept_small_while_its_worker_lives() -> None:
    async with running_daemon({"chat": toy()}) as daemon:
        log = daemon.log_path("chat")
        await until(lambda: b"chat is ready" in log.read_bytes())  # which it says to the daemon first
        with log.open("ab") as file:
            file.write(b"chatter\n" * (LIVE_BYTES // 8))
        await until(lambda: log.stat().st_size <= KEPT_BYTES)
        assert log.read_bytes().endswith(b"chatter\n")


async def test_unloading_now_ends_prompts_and_a_long_step() -> None:
    async with running_daemon({"chat": toy(step_s=0.01)}) as daemon:
        stream = ask(daemon, "chat", max_tokens=1_000_000)
        await first_token(stream)
        await daemon.unload("chat", 0.0)
        error = ending(await collect(stream)).error
        assert error is not None
        assert error.code == "model_unloaded"


async def test_unloading_a_loading_model_ends_its_load() -> None:
    async with running_daemon({"chat": toy(load_s=600)}, ready=False) as daemon:
        await until(lambda: view(daemon, "chat").load is not None)
        pid = worker_pid(daemon, "chat")
        await daemon.unload("chat", 30.0)
        assert not process_lives(pid)
        assert view(daemon, "chat").state is ModelState.UNLOADED


async def test_a_model_not_loaded_at_start_is_loaded_by_its_first_prompt() -> None:
    async with running_daemon({"chat": toy(autoload=False)}) as daemon:
        assert (view(daemon, "chat").state, daemon.readiness()) == (ModelState.UNLOADED, [])
        with pytest.raises(ModelUnavailableError) as caught:
            ask(daemon, "chat")
        assert caught.value.retry_after_s is not None
        await ready(daemon, "chat")
        assert ending(await collect(ask(daemon, "chat"))).reason is FinishReason.LENGTH


async def test_stopping_leaves_no_process() -> None:
    async with running_daemon({"a": toy(), "b": toy(load_s=600)}, ready=False) as daemon:
        await ready(daemon, "a")
        await until(lambda: view(daemon, "b").pid)
        pids = [worker_pid(daemon, name) for name in "ab"]
        await daemon.stop(0.0)
        assert [process_lives(pid) for pid in pids] == [False, False]
